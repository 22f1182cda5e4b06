"""The commands of ``monai-dis dicom``: their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_dis.cli.options import LimitOption, OutputOption, PolicyOption, SelectOption, read_pairs

__all__ = ["dicom_app"]

dicom_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="DICOM studies: look at them before they are segmented, fetch them from an archive, send results to it.",
)


@dicom_app.callback()
def _group() -> None:
    pass


@dicom_app.command(
    help="Say what is in an input, what would be segmented, and why not.\n\n"
    "Reads headers only. A tree of studies in folders of their own is checked study by study. Exit status: 0 when a segmentation "
    "would be written, 3 when the input, or one of its studies, is rejected.",
    epilog="Example: [bold]monai-dis dicom check study/ --modality CT --json check.json[/bold]",
)
def check(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Folder, tree of studies, file, DICOMDIR or ZIP; NIfTI, NRRD or MHA too.",
            show_default=False,
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


@dicom_app.command(help="List every code of a finding: its policy, whether a site may relax it, and its meaning.")
def codes() -> None:
    """List every code."""
    from monai_dis.checks.codes import codes_table

    typer.echo(codes_table())


AttemptsOption = Annotated[
    int, typer.Option(min=1, help="How often a request is tried; the pause between doubles each time.")
]
TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write what became of each instance as JSON.")
]


@dicom_app.command(
    help="Fetch studies from a DICOMweb server (QIDO, WADO).\n\n"
    "Each instance is written to OUTPUT/study/series/instance.dcm, under its UIDs; those that lie there already are kept. A bearer "
    "token is taken from the environment variable MONAI_DIS_DICOMWEB_TOKEN, a user and password from the URL "
    "(https://user:password@pacs/dicom-web). Exit status: 0 when everything is there, 4 when instances could not be fetched.",
    epilog="Example: [bold]monai-dis dicom fetch https://pacs/dicom-web --study 1.2.3 --modality CT -o in[/bold]",
)
def fetch(
    server: Annotated[str, typer.Argument(metavar="URL", help="Root of the DICOMweb services.", show_default=False)],
    output: OutputOption,
    study: Annotated[str, typer.Option(metavar="UID", help="Study Instance UID.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Series Instance UID, of one study.")] = "",
    modality: Annotated[str, typer.Option(help="Only series of this modality.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEYWORD=VALUE", help="Studies with this value, such as StudyDate=20240102."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Refuse a query that more studies fit.")] = 100,
    attempts: AttemptsOption = 4,
    timeout: TimeoutOption = 60.0,
    json_file: JsonOption = None,
) -> None:
    """Fetch studies from a DICOMweb server."""
    from monai_dis.cli.dicom_peers import run_fetch
    from monai_dis.dicom.dicomweb_fetch import Query
    from monai_dis.dicom.dicomweb_server import Server
    from monai_dis.dicom.retry import Retry

    query = Query(study, series, modality, read_pairs(where, "--where"), most)
    status = run_fetch(Server(server, Retry(attempts), timeout), query, output, json_file)
    if status:
        raise typer.Exit(status)


@dicom_app.command(
    help="Send DICOM files to an archive, by DICOMweb (STOW) or by C-STORE.\n\n"
    "Every instance has a status of its own; one that fails is tried again alone. Exit status: 0 when the peer acknowledged all "
    "of them, 4 when some were not stored. The files are kept in any case.",
    epilog="Example: [bold]monai-dis dicom send https://pacs/dicom-web out/[/bold] or "
    "[bold]monai-dis dicom send ARCHIVE@pacs:11112 out/[/bold]",
)
def send(
    peer: Annotated[
        str,
        typer.Argument(metavar="PEER", help="Root of the DICOMweb services, or TITLE@host:port.", show_default=False),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="DICOM files, and folders of them.", show_default=False)
    ],
    calling: Annotated[str, typer.Option(help="Our own application entity title, for C-STORE.")] = "MONAI_DIS",
    attempts: AttemptsOption = 4,
    timeout: TimeoutOption = 60.0,
    json_file: JsonOption = None,
) -> None:
    """Send DICOM files to an archive."""
    from monai_dis.cli.dicom_peers import run_send
    from monai_dis.dicom.retry import Retry

    status = run_send(peer, files, calling, Retry(attempts), timeout, json_file)
    if status:
        raise typer.Exit(status)
