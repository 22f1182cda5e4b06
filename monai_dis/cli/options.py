"""Options that commands share, and what they become: entries of a bundle's config to replace."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_dis.data.registry import DATASETS
from monai_dis.runtimes.names import RUNTIMES


class Mode(str, Enum):
    """How an image is segmented."""

    dis = "dis"
    sliding_window = "sliding-window"
    coarse = "coarse"


class Split(str, Enum):
    """Which part of a data set is evaluated; few sets have an official test part."""

    val = "val"
    train = "train"
    test = "test"
    all = "all"


class Format(str, Enum):
    """What is written for a DICOM study."""

    seg = "seg"
    labelmap = "labelmap"
    nifti = "nifti"
    nrrd = "nrrd"


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
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Spend at most this share of the operations of one full pass at full resolution, coarse pass included; "
        "[bold]auto[/bold]: as long as windows are expected to be worth it.",
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
DatasetOption = Annotated[
    str | None, typer.Option(help=f"Layout of the folder: {', '.join(DATASETS)}. Default: the bundle's own.")
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, or one GPU of several, such as cuda:1.", rich_help_panel=WHERE)
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        help=f"What computes the networks: {', '.join(RUNTIMES)}. Default: the bundle's own, which is torch.",
        rich_help_panel=WHERE,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace an entry of the bundle's config, such as inferer::sw_batch_size=8."
    ),
]

DICOM = "DICOM inputs"
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="CODE=POLICY", help="Change what a finding does: fix, warn or reject.", rich_help_panel=DICOM),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEYWORD=VALUE",
        help="Choose one of several series or volumes: SeriesNumber=3, SeriesDescription='*T2 tra*' (ProtocolName, "
        "SeriesInstanceUID; * and ? are wildcards), EchoTime=80.",
        rich_help_panel=DICOM,
    ),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NUMBER", help="Change a bound on sizes, such as frames=5000.", rich_help_panel=DICOM),
]


ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do the I-th of N shares of the images or studies only: for N jobs that write to one folder.",
        rich_help_panel=WHERE,
    ),
]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Segment with so many processes of this machine, each with weights of its own (needs the extra cluster).",
        rich_help_panel=WHERE,
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Segment on a Dask cluster that exists: tcp://host:port of its scheduler, or a scheduler file.",
        rich_help_panel=WHERE,
    ),
]

LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER=CLASS,...",
        help="Which class each number in the label files is, such as 63=1,126=2,189=3,252=4. Default: numbers are classes.",
    ),
]
LabelPolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="LABEL_GEOMETRY=POLICY",
        help="What is done about a label that lies elsewhere than its image: reject (default), or warn to take its voxels "
        "for the image's, where headers are lost.",
    ),
]


def read_labels(text: str | None) -> dict[int, int] | None:
    """Read a map such as ``63=1,126=2``; None stays None."""
    if text is None:
        return None
    pairs = [part.split("=") for part in text.split(",") if part.strip()]
    try:
        found = {int(value): int(index) for value, index in pairs}
    except ValueError:
        found = {}
    if not found or len(found) != len(pairs):
        raise typer.BadParameter(
            f"{text!r} does not give each number one class, as 63=1,126=2 does", param_hint="--labels"
        )
    return found


def read_label_policy(texts: list[str] | None) -> str | None:
    """Read ``LABEL_GEOMETRY=warn``; None where nothing is given."""
    pairs = read_pairs(texts, "--policy")
    for code, policy in pairs.items():
        if code != "LABEL_GEOMETRY" or policy not in ("reject", "warn"):
            raise typer.BadParameter(
                f"'{code}={policy}' is unknown here; there is LABEL_GEOMETRY=reject or =warn", param_hint="--policy"
            )
    return pairs.get("LABEL_GEOMETRY")


def read_shard(text: str | None) -> tuple[int, int] | None:
    """Read a share such as ``2/4``; None stays None."""
    if text is None:
        return None
    first, slash, second = text.partition("/")
    if not slash or not first.isdecimal() or not second.isdecimal() or not 1 <= int(first) <= int(second):
        raise typer.BadParameter(f"{text!r} is not a share such as 2/4, the second of four", param_hint="--shard")
    return int(first), int(second)


def read_pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Read options of the form KEY=VALUE."""
    pairs = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=option)
        pairs[key] = value
    return pairs


def config_overrides(settings: list[str] | None, **options: Any) -> dict[str, Any]:
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


def read_share(text: str | None, option: str = "--operations") -> float | str | None:
    """Read a share of a full pass, such as ``0.1``, or ``auto``; None stays None."""
    if text is None or text.strip() == "auto":
        return text if text is None else "auto"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise typer.BadParameter(f"{text!r} is neither a share such as 0.1 nor auto", param_hint=option)
    return share


def read_shares(text: str | None) -> list[float | str] | None:
    """Read a list of shares such as ``0.05,0.1,auto``; None stays None."""
    if text is None:
        return None
    shares = [read_share(part, "--budgets") for part in text.split(",") if part.strip()]
    if not shares:
        raise typer.BadParameter(f"{text!r} is not a list of shares such as 0.05,0.1,auto", param_hint="--budgets")
    return [share for share in shares if share is not None]
