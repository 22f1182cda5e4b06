"""The commands of ``monai-dis``: their options, their help, and the call that each one makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_dis.cli.dicom_app import dicom_app
from monai_dis.cli.label_app import label_app
from monai_dis.cli.options import (
    BUDGET,
    DICOM,
    BundleOption,
    ClusterOption,
    CoverageOption,
    DatasetOption,
    DeviceOption,
    Format,
    LabelPolicyOption,
    LabelsOption,
    LimitOption,
    Mode,
    ModeOption,
    OperationsOption,
    OutputOption,
    OverlapOption,
    PolicyOption,
    ReproducedSet,
    RuntimeOption,
    SelectOption,
    SetOption,
    ShardOption,
    Split,
    WindowsOption,
    WorkersOption,
    config_overrides,
    read_label_policy,
    read_labels,
    read_pairs,
    read_shard,
    read_share,
    read_shares,
)

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

app.add_typer(dicom_app, name="dicom")
app.add_typer(label_app, name="label")


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
    help="Segment images.\n\n"
    "Writes for each image the segmentation on the image's own grid and an overlay picture with the refined windows drawn in, "
    "and for all of them report.json and report.html. A DICOM study (a folder, DICOMDIR or ZIP) becomes a DICOM SEG on its own "
    "planes and an SR with volumes; a tree of studies is a cohort, segmented study by study. A run that was cut off goes on where it "
    "stopped when it is started again.",
    epilog="Example: [bold]monai-dis segment eye.jpg more_eyes/ -b fundus_vessels_dis -o out --operations 0.2[/bold]",
)
def segment(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders of images, DICOM studies.", show_default=False),
    ],
    bundle: BundleOption,
    output: OutputOption,
    mode: ModeOption = Mode.dis,
    windows: WindowsOption = None,
    coverage: CoverageOption = None,
    operations: OperationsOption = None,
    overlap: OverlapOption = None,
    device: DeviceOption = "auto",
    runtime: RuntimeOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also redo images whose results are complete already.")
    ] = False,
    slide: Annotated[
        bool,
        typer.Option(
            "--slide",
            help="Read the images from disk piece by piece. Without it, SVS, OME-Zarr and tiled TIFF of more than 67 million pixels are.",
        ),
    ] = False,
    scene: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|all", help="Which of several scenes of a slide, from 1; all: each, with results of its own."
        ),
    ] = None,
    settings: SetOption = None,
    result: Annotated[
        Format | None,
        typer.Option("--format", help="What is written for a DICOM study. Default: seg.", rich_help_panel=DICOM),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also say how certain each object is; for a DICOM study, write what was refined and what stays uncertain.",
        ),
    ] = False,
    policy: PolicyOption = None,
    select: SelectOption = None,
    limit: LimitOption = None,
    shard: ShardOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Segment images."""
    from monai_dis.cli.segmenting import run_segment
    from monai_dis.pipeline.options import Options

    if workers is not None and cluster is not None:
        raise typer.BadParameter("give --workers for processes here or --cluster for one that exists, not both")
    share = read_shard(shard)
    if share is not None and (workers is not None or cluster is not None):
        raise typer.BadParameter("--shard is for schedulers without Dask; leave it out with --workers and --cluster")
    options = Options.of_words(
        format=None if result is None else result.value,
        policies=read_pairs(policy, "--policy"),
        limits=read_pairs(limit, "--limit"),
        selection=read_pairs(select, "--select"),
        uncertainty=uncertainty,
        tiled=slide,
        scene=scene,
    )
    overrides = config_overrides(
        settings,
        output_dir=output,
        mode=mode,
        windows=windows,
        coverage=coverage,
        operations=read_share(operations),
        overlap=overlap,
        device=device,
        runtime=runtime,
        overwrite=overwrite,
    )
    run_segment(bundle, images, options, overrides, shard=share, workers=workers, cluster=cluster)


@app.command(
    help="Measure a bundle on labelled images.\n\n"
    "Dice, IoU, precision, recall, accuracy, HD95 and surface Dice per image, on the images' own grid, with operations and "
    "seconds; mean, standard deviation and median over all, as CSV and JSON.",
    epilog="Example: [bold]monai-dis evaluate -b skin_lesion_dis --data data/ph2 -o eval --budgets 0.05,0.1,0.2[/bold]",
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
    dataset: DatasetOption = None,
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
    scores: Annotated[
        str | None,
        typer.Option(
            help="Ways to choose windows, compared at each of --budgets: entropy, margin, least_confidence, poster, gain, random, "
            "random-foreground, boundary, box, oracle.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    overlap: OverlapOption = None,
    device: DeviceOption = "auto",
    labels: LabelsOption = None,
    policy: LabelPolicyOption = None,
    settings: SetOption = None,
) -> None:
    """Measure a bundle on labelled images."""
    from monai_dis.cli.evaluating import run_evaluate

    # Inside the evaluator, so that a bundle whose config does not speak of labels takes them too.
    own = {"evaluator::label_map": read_labels(labels), "evaluator::label_geometry": read_label_policy(policy)}
    run_evaluate(
        bundle,
        config_overrides(
            settings,
            data_dir=data,
            dataset_name=dataset,
            split=split,
            output_dir=output,
            mode=mode,
            windows=windows,
            coverage=coverage,
            operations=read_share(operations),
            budgets=read_shares(budgets),
            scores=None if scores is None else [name.strip() for name in scores.split(",")],
            overlap=overlap,
            device=device,
            **own,
        ),
    )


@app.command(
    help="Train a bundle's networks.\n\n"
    "Leaves a bundle of its own in the output folder, which segment and evaluate take. An interrupted training resumes from its "
    "last epoch when it is started again; a folder with another training is refused.",
    epilog="Example: [bold]monai-dis train -b fundus_vessels_dis --data data/retina -o my_vessels[/bold]",
)
def train(
    bundle: BundleOption,
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of the training data.")],
    output: OutputOption,
    dataset: DatasetOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default: the bundle's own.")] = None,
    device: DeviceOption = "auto",
    labels: LabelsOption = None,
    policy: LabelPolicyOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where the output folder holds another training.")
    ] = False,
    settings: SetOption = None,
) -> None:
    """Train a bundle's networks."""
    from monai_dis.cli.training import run_train

    overrides = config_overrides(
        settings,
        dataset_name=dataset,
        seed=seed,
        label_map=read_labels(labels),
        label_geometry=read_label_policy(policy),
    )
    run_train(bundle, data, output, overrides, device=device, overwrite=overwrite)


@app.command(
    help="Reproduce the poster's experiment.\n\n"
    "Trains and evaluates the coarse network, deep iterative segmentation at every number of windows, the full-resolution "
    "baseline and the honest rivals, and writes the figures: Dice against windows and against operations, and one image "
    "through the stages.",
    epilog="Example: [bold]monai-dis reproduce --dataset ph2 --data data/ph2 -o poster --quick[/bold]",
)
def reproduce(
    dataset: Annotated[ReproducedSet, typer.Option(help="Data set of the poster.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of the data set.")],
    output: OutputOption,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few epochs only, to see the whole way run; the figures mean nothing.")
    ] = False,
    effort: Annotated[
        float, typer.Option(min=0.0, help="Share of the poster's epochs to train for; 1 takes days on a CPU.")
    ] = 1.0,
    device: DeviceOption = "auto",
) -> None:
    """Reproduce the poster's experiment."""
    from monai_dis.cli.training import run_reproduce

    run_reproduce(dataset.value, data, output, quick=quick, effort=effort, device=device)


@app.command()
def bundles() -> None:
    """List the bundles that come with monai-dis."""
    from monai_dis.cli.listing import list_bundles

    list_bundles()
