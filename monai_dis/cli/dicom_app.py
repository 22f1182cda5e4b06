"""The commands of ``monai-dis dicom``: their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_dis.cli.options import LimitOption, PolicyOption, SelectOption, read_pairs

__all__ = ["dicom_app"]

dicom_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look at DICOM studies before they are segmented.",
)


@dicom_app.callback()
def _group() -> None:
    pass


@dicom_app.command(
    help="Say what is in an input, what would be segmented, and why not.\n\n"
    "Reads headers only. Exit status: 0 when a segmentation would be written, 3 when the input is rejected.",
    epilog="Example: [bold]monai-dis dicom check study/ --modality CT --json check.json[/bold]",
)
def check(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Folder, file, DICOMDIR or ZIP; NIfTI, NRRD or MHA too.", show_default=False
        ),
    ],
    bundle: Annotated[
        str | None, typer.Option("--bundle", "-b", help="Bundle that is to segment it: a name or a folder.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Modality that is wanted, where no bundle is given.")] = None,
    body_part: Annotated[
        str | None, typer.Option("--body-part", help="Body part that is wanted, where no bundle is given.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write everything as JSON.")
    ] = None,
    policy: PolicyOption = None,
    select: SelectOption = None,
    limit: LimitOption = None,
) -> None:
    """Say what is in an input."""
    from monai_dis.cli.dicom_checking import run_check

    if bundle is not None and (modality is not None or body_part is not None):
        raise typer.BadParameter("give either a bundle or a modality and body part", param_hint="--bundle")
    status = run_check(
        source,
        bundle=bundle,
        modality=modality,
        body_part=body_part,
        json_file=json_file,
        policies=read_pairs(policy, "--policy"),
        selection=read_pairs(select, "--select"),
        limits=read_pairs(limit, "--limit"),
    )
    if status:
        raise typer.Exit(status)
