"""The commands of ``monai-dis label``: their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_dis.cli.options import LabelPolicyOption, LimitOption, read_label_policy, read_pairs

__all__ = ["label_app"]

ACCESS = "Who may ask"

label_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The reading desk: a MONAI Label server for 3D Slicer and OHIF.",
)


@label_app.callback()
def _group() -> None:
    pass


@label_app.command(
    help="Start the server.\n\n"
    "Segments, shows where to look, corrects by clicks, learns from submitted labels and says which case teaches most. Works on a "
    "folder of images (NIfTI, NRRD, MetaImage, pictures) or on a DICOMweb archive. Needs the extra `label`; runs without any other "
    "network. Stop it with Ctrl-C.",
    epilog="Example: [bold]monai-dis label serve --studies heart_mr/ --bundle left_atrium_mr_dis[/bold]",
)
def serve(
    studies: Annotated[
        str,
        typer.Option(
            "--studies", "-s", metavar="FOLDER|URL", help="Images, or root of DICOMweb services.", show_default=False
        ),
    ],
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            "--bundle", "-b", help="Bundle to serve, a name or a folder; may be repeated. Default: all with weights."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Anything but this machine's own needs a network that you trust.")
    ] = "127.0.0.1",
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Logs, trained weights, sessions. Default: below ~/.cache/monai_dis/label."
        ),
    ] = None,
    policy: LabelPolicyOption = None,
    limit: LimitOption = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name under which the server is reached, besides its address and localhost; may be repeated.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Require the token in this file: as bearer token, or as password.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve over TLS with this PEM file.", rich_help_panel=ACCESS)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key of the certificate, if separate.", rich_help_panel=ACCESS)
    ] = None,
    change_images: Annotated[
        bool, typer.Option("--change-images", help="Let viewers replace and remove images.", rich_help_panel=ACCESS)
    ] = False,
    warm_up: Annotated[
        bool, typer.Option(help="Run each network once at the start, so that the first case is not slow.")
    ] = True,
) -> None:
    """Start the server."""
    from monai_dis.cli.console import out, working
    from monai_dis.cli.quiet import quiet_third_parties
    from monai_dis.label.serving import Serving, check_serving, run_server

    serving = Serving(
        studies,
        tuple(bundle or ()),
        host,
        port,
        work,
        read_label_policy(policy) or "reject",
        limits=read_pairs(limit, "--limit"),
        names=tuple(name or ()),
        token_file=token_file,
        certificate=certificate,
        key=key,
        change_images=change_images,
        warm_up=warm_up,
    )
    quiet_third_parties()
    with working("checking"):
        names = check_serving(serving)
    address = serving.address
    out.print(f"models {', '.join(names)}; logs and trained weights in {serving.folder}", highlight=False)
    out.print(f"3D Slicer: module MONAI Label, server {address}", highlight=False)
    if serving.from_archive:
        out.print(f"OHIF: {address}/ohif/", highlight=False)
    run_server(serving, names)
