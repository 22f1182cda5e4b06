"""The commands of ``monai-dis``: their options, their help, and the call that each one makes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deep iterative segmentation: a coarse pass over a small version of the image, then full resolution only where that "
    "first answer is uncertain.",
    epilog="Try: [bold]monai-dis segment IMAGE --bundle fundus_vessels_dis --output out[/bold]",
)


class Mode(str, Enum):
    """How an image is segmented."""

    dis = "dis"
    sliding_window = "sliding-window"
    coarse = "coarse"


class Split(str, Enum):
    """Which part of a data set is evaluated."""

    val = "val"
    train = "train"
    all = "all"


class ReproducedSet(str, Enum):
    """The data sets of the poster."""

    ph2 = "ph2"
    retina = "retina"
    kitti = "kitti"


BUDGET, WHERE = "Budget (the first that binds; default: the bundle's own)", "Where it runs"
BundleOption = Annotated[
    str, typer.Option("--bundle", "-b", help="Name of a bundle that comes with monai-dis, or a bundle's folder.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made when missing.")]
ModeOption = Annotated[
    Mode,
    typer.Option(
        help="[bold]dis[/bold]: refine where it is uncertain. [bold]sliding-window[/bold]: refine everywhere. "
        "[bold]coarse[/bold]: refine nothing."
    ),
]
WindowsOption = Annotated[
    int | None, typer.Option(min=0, help="Refine at most this many windows per image.", rich_help_panel=BUDGET)
]
CoverageOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Refine at most this share of the image's area.", rich_help_panel=BUDGET),
]
OperationsOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Spend at most this share of the operations of one full pass at full resolution, coarse pass included.",
        rich_help_panel=BUDGET,
    ),
]
OverlapOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.95,
        help="Share of a window that its neighbour covers. Default: the bundle's own; 0.5 for sliding-window.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, or one GPU of several, such as cuda:1.", rich_help_panel=WHERE)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace an entry of the bundle's config, such as inferer::sw_batch_size=8."
    ),
]


def _version(value: bool) -> None:
    if value:
        from monai_dis import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Example: [bold]monai-dis segment eye.jpg more_eyes/ -b fundus_vessels_dis -o out --operations 0.2[/bold]"
)
def segment(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of images.", show_default=False)
    ],
    bundle: BundleOption,
    output: OutputOption,
    mode: ModeOption = Mode.dis,
    windows: WindowsOption = None,
    coverage: CoverageOption = None,
    operations: OperationsOption = None,
    overlap: OverlapOption = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also redo images whose results are complete already.")
    ] = False,
    settings: SetOption = None,
) -> None:
    """Segment images.

    Writes for each image the segmentation on the image's own grid, an overlay picture with the refined windows drawn in, and for
    all of them report.json and report.html. A run that was cut off goes on where it stopped when it is started again.
    """
    from monai_dis.cli.segmenting import run_segment

    run_segment(
        bundle,
        _overrides(
            settings,
            image_files=images,
            output_dir=output,
            mode=mode,
            windows=windows,
            coverage=coverage,
            operations=operations,
            overlap=overlap,
            device=device,
            overwrite=overwrite,
        ),
    )


@app.command(
    epilog="Example: [bold]monai-dis evaluate -b skin_lesion_dis --data data/ph2 -o eval --budgets 0.05,0.1,0.2[/bold]"
)
def evaluate(
    bundle: BundleOption,
    data: Annotated[
        Path,
        typer.Option(
            "--data", "-d", help="Folder of a data set: its original layout, or images/ with masks/ or labels/."
        ),
    ],
    output: OutputOption,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the folder: ph2, retina, kitti or folder. Default: the bundle's own.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which part of the data set.")] = Split.val,
    mode: ModeOption = Mode.dis,
    windows: WindowsOption = None,
    coverage: CoverageOption = None,
    operations: OperationsOption = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Several shares of a full pass, such as 0.05,0.1,0.2: also draws quality against cost.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    overlap: OverlapOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
) -> None:
    """Measure a bundle on labelled images.

    Dice, IoU, precision, recall, accuracy, HD95 and surface Dice per image, on the images' own grid, with operations and seconds;
    mean, standard deviation and median over all, as CSV and JSON.
    """
    from monai_dis.cli.evaluating import run_evaluate

    run_evaluate(
        bundle,
        _overrides(
            settings,
            data_dir=data,
            dataset_name=dataset,
            split=split,
            output_dir=output,
            mode=mode,
            windows=windows,
            coverage=coverage,
            operations=operations,
            budgets=_shares(budgets),
            overlap=overlap,
            device=device,
        ),
    )


@app.command(epilog="Example: [bold]monai-dis train -b fundus_vessels_dis --data data/retina -o my_vessels[/bold]")
def train(
    bundle: BundleOption,
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of the training data.")],
    output: OutputOption,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the folder: ph2, retina, kitti or folder. Default: the bundle's own.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default: the bundle's own.")] = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
) -> None:
    """Train a bundle's networks.

    Leaves a bundle of its own in the output folder, which `segment` and `evaluate` take. Started again after it was cut off, it
    goes on from its last epoch.
    """
    from monai_dis.cli.training import run_train

    run_train(bundle, data, output, _overrides(settings, dataset_name=dataset, seed=seed), device=device)


@app.command(epilog="Example: [bold]monai-dis reproduce --dataset ph2 --data data/ph2 -o poster --quick[/bold]")
def reproduce(
    dataset: Annotated[ReproducedSet, typer.Option(help="Data set of the poster.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of the data set.")],
    output: OutputOption,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few epochs only, to see the whole way run; the figures mean nothing.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Reproduce the poster's experiment.

    Trains and evaluates the coarse network, deep iterative segmentation at every number of windows, the full-resolution baseline and
    the honest rivals, and writes the figures: Dice against windows and against operations, and one image through the stages.
    """
    from monai_dis.cli.training import run_reproduce

    run_reproduce(dataset.value, data, output, quick=quick, device=device)


@app.command()
def bundles() -> None:
    """List the bundles that come with monai-dis."""
    from monai_dis.cli.listing import list_bundles

    list_bundles()


def _overrides(settings: list[str] | None, **options: Any) -> dict[str, Any]:
    """Config entries to replace, in plain types: options that were given, and `--set` last."""
    given: dict[str, Any] = {}
    for key, value in options.items():
        if value is None:
            continue
        if isinstance(value, list):
            given[key] = [str(item) if isinstance(item, Path) else item for item in value]
        else:
            given[key] = value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{setting!r} is not of the form KEY=VALUE", param_hint="--set")
        given[key] = _plain(text)
    return given


def _plain(text: str) -> Any:
    """Read a value as YAML does: numbers, true, null, lists; anything else is text."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _shares(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        shares = []
    if not shares or any(not share >= 0 for share in shares):
        raise typer.BadParameter(f"{text!r} is not a list of shares such as 0.05,0.1,0.2", param_hint="--budgets")
    return shares
