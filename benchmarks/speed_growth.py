"""How cost grows with resolution: one scene at 1, 2, 4 and 8 times the resolution, ours beside a sliding window."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from speed_networks import plain_unet
from speed_scenes import SceneNetwork, blobs

from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.operations import count_operations
from monai_dis.inferers.score import hard_labels
from monai_dis.inferers.windows import window_grid

__all__ = ["DIMENSIONS", "fit_exponents", "measure_growth"]

FLOOR = 0.01  # of a window's mean entropy: a window without an edge in it lies below
OVERLAP = 0.5


@dataclass(frozen=True)
class Growth:
    """A scene at resolution 1, the window, and the scale of the coarse level there."""

    base: int
    roi: int
    coarse: int


DIMENSIONS: Mapping[int, Growth] = {2: Growth(base=512, roi=64, coarse=4), 3: Growth(base=64, roi=32, coarse=2)}


def measure_growth(dims: int, factors: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Both arms at every resolution, in turn, several times over.

    Args:
        dims: axes of the scene, 2 or 3.
        factors: resolutions, as multiples of the first.
        repeats: runs of each that count; one before them does not.

    Returns:
        a row for each arm and resolution with median seconds, and operations.
    """
    setting = DIMENSIONS[dims]
    network = SceneNetwork(plain_unet(dims, 1)).eval()
    rows = []
    for factor in factors:
        image = blobs((setting.base * factor,) * dims)
        arms = {"ours": _ours(image, network, setting, factor), "sliding window": _sliding(image, network, setting)}
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
        for _ in range(repeats + 1):
            for name, run in arms.items():
                seen[name].append(run())
        for name, runs in seen.items():
            seconds = median(run["seconds"] for run in runs[1:])
            rows.append({**runs[-1], "dims": dims, "factor": factor, "arm": name, "seconds": seconds})
            print(f"{dims}D x{factor} {name}: {seconds:.2f} s, {rows[-1]['operations'] / 1e9:.1f} GMAC", flush=True)
    return rows


def fit_exponents(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Exponents of ours against the sliding window, and of both against the number of voxels, by dimension.

    Slopes of straight lines through the logarithms.
    """
    fitted = []
    for dims in sorted({row["dims"] for row in rows}):
        factors = sorted({row["factor"] for row in rows if row["dims"] == dims})
        for measure in ("seconds", "operations"):
            ours, sliding = (
                [
                    next(r[measure] for r in rows if (r["dims"], r["factor"], r["arm"]) == (dims, f, arm))
                    for f in factors
                ]
                for arm in ("ours", "sliding window")
            )
            voxels = [float(f) ** dims for f in factors]
            fitted.append(
                {
                    "dims": dims,
                    "factors": factors,
                    "measure": measure,
                    "ours_against_sliding_window": _slope(sliding, ours),
                    "ours_against_voxels": _slope(voxels, ours),
                    "sliding_window_against_voxels": _slope(voxels, sliding),
                }
            )
    return fitted


def _slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else None


def _ours(image: torch.Tensor, network: SceneNetwork, setting: Growth, factor: int) -> Any:
    # The coarse grid stays as it is; each doubling of the resolution adds a level.
    scales = [setting.coarse * factor]
    while scales[-1] > 1:
        scales.append(scales[-1] // 2)
    inferer = IterativeInferer(
        setting.roi, 4, OVERLAP, "gaussian", levels=scales, budget=Budget(min_score=FLOOR), output="labels"
    )

    @torch.no_grad()
    def run() -> dict[str, Any]:
        start = time.perf_counter()
        result = inferer.run(image, network)
        result.labels()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "windows": len(result.windows), "operations": result.statistics.operations}

    return run


def _sliding(image: torch.Tensor, network: SceneNetwork, setting: Growth) -> Any:
    roi = (setting.roi,) * (image.ndim - 2)
    inferer = SlidingWindowInferer(roi, 4, OVERLAP, "gaussian")
    windows = len(window_grid(image.shape[2:], roi, OVERLAP))
    each = count_operations(network, [image.new_empty((1,)).expand(1, 1, *roi)])

    def run() -> dict[str, Any]:
        start = time.perf_counter()
        with torch.no_grad():
            hard_labels(inferer(image, network), "sigmoid")
        return {"seconds": time.perf_counter() - start, "windows": windows, "operations": windows * each}

    return run
