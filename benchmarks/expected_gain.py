"""What windows were expected to gain and what they gained, and how well the coarse answer is calibrated, on validation cases.

    python benchmarks/expected_gain.py --bundle left_atrium_mr_dis --data DATA

The curves of expected gain come from the recipe, which fits them on training cases with networks that did not see them. Writes
``docs/expected_gain.json`` and two tables of ``docs/README.md`` between their marks.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from documents import write_json, write_marked
from monai.metrics import CalibrationErrorMetric
from monai.transforms import SpatialResample

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.engines.gain_curves import gains_of
from monai_dis.engines.stage_maps import class_shares
from monai_dis.engines.window_gains import window_gains
from monai_dis.inferers import Budget
from monai_dis.inferers.grid import resample
from monai_dis.inferers.score import probabilities
from monai_dis.networks import CalibratedLogits

GROUPS = 5


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, ("inference", "evaluate"))
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")
    results = {"data": bundle.part("dataset_name"), "split": "val", "cases": len(cases), **_measured(bundle, cases)}
    docs = bundle.folder / "docs"
    write_json(docs / "expected_gain.json", results)
    for mark, table in gain_tables(results).items():
        write_marked(docs / "README.md", mark, table)
        print(table, end="\n\n")


@torch.no_grad()
def _measured(bundle: Any, cases: Any) -> dict[str, Any]:
    network, inferer = bundle.part("network"), bundle.part("inferer").replaced(output="logits")
    coarse: CalibratedLogits = network.coarse
    errors = {"before": CalibrationErrorMetric(num_bins=15), "after": CalibrationErrorMetric(num_bins=15)}
    windows: list[dict[str, float]] = []
    volumes: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        image = bundle.part("preprocessing")(dict(case))["image"]
        there = SpatialResample(mode="nearest", padding_mode="zeros")
        truth = there(LoadLabeld(keys="label")(dict(case))["label"], image.affine, image.shape[1:]).as_tensor()[None]
        item = {"image": image, "label": truth[0]}
        for gain in gains_of(network, [item], inferer):
            expected = inferer.levels[gain.level].expected_gain.of(gain.score)
            windows.append({"level": gain.level, "expected": expected, "gained": gain.gain})
        automatic = inferer.with_budget(Budget.auto()).run(image[None], network)
        gains = window_gains(automatic, truth)
        volumes.append(
            {
                "name": case["name"],
                "windows": len(gains),
                "expected": sum(inferer.levels[g.level].expected_gain.of(g.score) for g in gains),
                "gained": sum(g.gain for g in gains),
                "fraction_of_sliding_window": automatic.statistics.fraction_of_sliding_window,
            }
        )
        mosaic = automatic.mosaic
        logits = mosaic.coarse
        grid, classes = tuple(logits.shape[2:]), logits.shape[1]
        if mosaic.activation == "sigmoid":
            target = (resample(truth.float(), grid) >= 0.5).float()
        else:
            largest = class_shares(truth[0], classes, grid).argmax(dim=0)
            target = torch.nn.functional.one_hot(largest, classes).movedim(-1, 0)[None].float()
        uncalibrated = _uncalibrated(coarse, logits)
        errors["before"](y_pred=probabilities(uncalibrated, mosaic.activation), y=target)
        errors["after"](y_pred=probabilities(logits, mosaic.activation), y=target)
        print(f"{number + 1}/{len(cases)} {volumes[-1]}", flush=True)
    return {
        "calibration_error": {key: float(metric.aggregate()) for key, metric in errors.items()},
        "windows": windows,
        "volumes": volumes,
    }


def _uncalibrated(coarse: CalibratedLogits, calibrated: torch.Tensor) -> torch.Tensor:
    """The coarse network's own logits: what calibration did, undone."""
    shape = (1, -1, *[1] * (calibrated.ndim - 2))
    bounded = (calibrated - coarse.bias.reshape(shape)) / coarse.scale.reshape(shape)
    return coarse.bound * torch.atanh((bounded / coarse.bound).clamp(-0.999999, 0.999999))


def gain_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Expected against realised gain, and the calibration error, as Markdown."""
    lines = ["| level | windows, by what they were expected to gain | expected | gained |", "|---|---|---|---|"]
    for level in sorted({int(window["level"]) for window in results["windows"]}):
        own = sorted((w["expected"], w["gained"]) for w in results["windows"] if w["level"] == level)
        for group, part in enumerate(np.array_split(np.array(own), GROUPS), start=1):
            which = f"{len(part)}, fifth {group} of {GROUPS}"
            lines.append(f"| {level} | {which} | {part[:, 0].mean():.5f} | {part[:, 1].mean():.5f} |")
    volumes = results["volumes"]
    counts = [int(volume["windows"]) for volume in volumes]
    share = statistics.fmean(volume["fraction_of_sliding_window"] for volume in volumes)
    expected, gained = ([float(volume[key]) for volume in volumes] for key in ("expected", "gained"))
    together = statistics.correlation(expected, gained) if len(set(expected)) > 1 and len(set(gained)) > 1 else 0.0
    lines += [
        "",
        "Gain is the fall of the mean squared error in a window. With the budget `auto` a volume got "
        f"{min(counts)} to {max(counts)} windows (median {statistics.median(counts):g}), {share:.1%} of a sliding window on average; "
        f"over a volume's windows {statistics.fmean(expected):.4f} were expected and {statistics.fmean(gained):.4f} gained, "
        f"correlation {together:.2f} over {len(volumes)} volumes.",
    ]
    error = results["calibration_error"]
    calibration = [
        "| coarse answer | expected calibration error |",
        "|---|---|",
        f"| as the network gives it | {error['before']:.4f} |",
        f"| calibrated | {error['after']:.4f} |",
    ]
    return {"expected gain": "\n".join(lines), "calibration": "\n".join(calibration)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
