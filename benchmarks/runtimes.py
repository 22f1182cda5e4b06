"""Seconds and Dice of a bundle in every runtime that is installed here.

    python benchmarks/runtimes.py --bundle fundus_vessels_dis --data DATA --output OUT [--images 2] [--repeats 5]

Segments validation images. Each repetition runs every image in every runtime, one after the other in changing order, so that whatever
else the machine does falls on all of them; what is compared is the time of the networks alone (the stages coarse, score and refine), the
median over repetitions, then over images, and the median ratio to torch of the same image and repetition. Compiling, exporting and
quantising happen before, on ``--calibration`` training images, and are given apart. Writes ``runtimes.csv`` and ``runtimes.md``.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.bundle import Bundle, load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import LoadLabeld, atomic_path, read_dataset
from monai_dis.errors import BackendError
from monai_dis.pipeline.modes import make_runner, run_budget
from monai_dis.pipeline.predict import Predictor, Stopwatch
from monai_dis.runtimes import RUNTIMES, calibrating, with_runtime

STAGES = ("coarse", "score", "refine")
COLUMNS = (
    "runtime",
    "dice",
    "dice_difference",
    "seconds",
    "ratio_to_torch",
    "preparation_seconds",
    "windows",
    "images",
)

Row = dict[str, Any]


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, ("inference", "evaluate"), device="cpu")
    data = read_dataset(bundle.part("dataset_name"), options.data)
    cases = [case for case in data.datalist("val") if "label" in case][: options.images]
    shown = [Path(str(case["image"])) for case in data.datalist("train")][: options.calibration]

    predictors, preparation = _prepare(bundle, options.runtimes, shown)
    seconds, dice, windows = _measure(predictors, cases, options.repeats)
    rows = [_row(name, seconds, dice, windows, preparation[name]) for name in predictors]
    options.output.mkdir(parents=True, exist_ok=True)
    _write_csv(options.output / "runtimes.csv", rows)
    text = _table(rows, options)
    with atomic_path(options.output / "runtimes.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


@torch.no_grad()
def _prepare(
    bundle: Bundle, runtimes: Sequence[str], shown: Sequence[Path]
) -> tuple[dict[str, Predictor], dict[str, float]]:
    """A predictor for every runtime that is here, warm, and how long it took to get there."""
    inferer, device = bundle.part("inferer"), torch.device("cpu")
    predictors, preparation = {}, {}
    for name in runtimes:
        try:
            network: nn.Module = with_runtime(bundle.part("network").eval(), name)
        except BackendError as error:
            print(f"{name} is left out: {error}", flush=True)
            continue
        runner = make_runner(network, inferer, "dis", run_budget(inferer, "dis"))
        predictor = Predictor(runner, network, bundle.part("preprocessing"), bundle.part("postprocessing"), device)
        batches = [predictor.prepare(path, None, Stopwatch(device)).batch for path in shown]
        start = time.perf_counter()
        with calibrating(network):
            for batch in batches if name.endswith("int8") else ():
                inferer.run(batch, network)
        for batch in batches:
            inferer.run(batch, network)
        preparation[name] = time.perf_counter() - start
        predictors[name] = predictor
        print(f"{name}: ready after {preparation[name]:.1f} s", flush=True)
    return predictors, preparation


def _measure(
    predictors: Mapping[str, Predictor], cases: Sequence[Mapping[str, Any]], repeats: int
) -> tuple[dict[str, list[list[float]]], dict[str, list[float]], dict[str, list[int]]]:
    """Seconds by runtime, image and repetition; Dice and windows by runtime and image."""
    read_label, names = LoadLabeld(keys="label"), list(predictors)
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in cases] for name in names}
    dice: dict[str, list[float]] = {name: [] for name in names}
    windows: dict[str, list[int]] = {name: [] for name in names}
    for repeat in range(repeats):
        for place, case in enumerate(cases):
            turn = (repeat + place) % len(names)
            for name in names[turn:] + names[:turn]:
                watch = Stopwatch(torch.device("cpu"))
                prepared = predictors[name].prepare(Path(str(case["image"])), None, watch)
                answer, statistics = predictors[name].runner(prepared.batch)
                seconds[name][place].append(sum(statistics["seconds"][stage] for stage in STAGES))
                if repeat == 0:
                    found = predictors[name].finish(prepared, answer, statistics, watch).class_masks()
                    truth = torch.as_tensor(read_label(dict(case))["label"])
                    dice[name].append(_dice(found, truth))
                    windows[name].append(statistics["windows_refined"])
            print(f"\rrepetition {repeat + 1}/{repeats}, image {place + 1}/{len(cases)}", end="", flush=True)
    print()
    return seconds, dice, windows


def _dice(found: Tensor, truth: Tensor) -> float:
    """Hard Dice of masks (C, *spatial) and a label (1, *spatial) or masks (C, *spatial), mean of the classes that either has."""
    classes = torch.arange(1, len(found) + 1).reshape(-1, *[1] * (truth.ndim - 1))
    masks = truth == classes if len(truth) == 1 else truth > 0
    values = []
    for a, b in zip(found > 0, masks, strict=True):
        if bool(a.any() | b.any()):
            values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return sum(values) / len(values) if values else 1.0


def _row(
    name: str,
    seconds: Mapping[str, list[list[float]]],
    dice: Mapping[str, list[float]],
    windows: Mapping[str, list[int]],
    preparation: float,
) -> Row:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    first = next(iter(seconds))  # torch
    pairs = zip(seconds[name], seconds[first], strict=True)
    ratios = [median(a / b for a, b in zip(own, other, strict=True)) for own, other in pairs]
    return {
        "runtime": name,
        "dice": round(mean(dice[name]), 5),
        "dice_difference": round(mean(dice[name]) - mean(dice[first]), 5),
        "seconds": round(median(median(each) for each in seconds[name]), 4),
        "ratio_to_torch": round(median(ratios), 3),
        "preparation_seconds": round(preparation, 1),
        "windows": round(mean(windows[name]), 1),
        "images": len(dice[name]),
    }


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _table(rows: Sequence[Row], options: argparse.Namespace) -> str:
    lines = [
        "| runtime | Dice | against torch | seconds in the networks | share of torch's | seconds to get ready |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['runtime']} | {row['dice']:.4f} | {row['dice_difference']:+.4f} | {row['seconds']:.3f} | "
            f"{row['ratio_to_torch']:.2f} | {row['preparation_seconds']:.1f} |"
        )
    lines += [
        "",
        f"`{options.bundle}`, {rows[0]['images']} validation images, {options.repeats} repetitions, {options.threads} threads, "
        f"PyTorch {torch.__version__}, {platform.machine()}.",
        "",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, help="folder of the bundle's data set")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--images", type=int, help="validation images; default all")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions")
    parser.add_argument("--calibration", type=int, default=2, help="training images to get ready with")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--runtimes", help=f"some of {', '.join(RUNTIMES)}; default all but tensorrt")
    options = parser.parse_args()
    wanted = options.runtimes.split(",") if options.runtimes else [n for n in RUNTIMES if n != "tensorrt"]
    # Everything is compared with torch, so it comes first.
    options.runtimes = ["torch", *[name for name in wanted if name != "torch"]]
    return options


if __name__ == "__main__":
    main()
