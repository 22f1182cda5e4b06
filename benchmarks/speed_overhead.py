"""What the inferer costs beside its networks: seconds outside their forward passes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from speed_networks import NetworkClock, bundle_image, bundle_parts

from monai_dis.inferers import Budget, IterativeInferer

__all__ = ["CASES", "STAGES", "measure_overhead"]

#: Bundle, image channels and size of each case.
CASES: Mapping[str, tuple[str, int, tuple[int, ...]]] = {
    "2D": ("skin_lesion_dis", 3, (4096, 4096)),
    "3D": ("left_atrium_mr_dis", 1, (512, 512, 256)),
}
BUDGETS: Mapping[str, Budget] = {"10 %": Budget(operations=0.1), "everywhere": Budget.everywhere()}
STAGES = ("coarse", "score", "select", "gather", "refine", "merge", "labels", "statistics", "rest")


def measure_overhead(
    cases: Sequence[str],
    budgets: Sequence[str],
    repeats: int,
    sizes: Mapping[str, Sequence[int]],
    images: Mapping[str, Path],
) -> list[dict[str, Any]]:
    """Run every case at every budget, all of them in turn, so that what disturbs one repeat disturbs each.

    Args:
        cases: names in `CASES`.
        budgets: names in `BUDGETS`.
        repeats: runs of each; the first run of all, which counts operations and loads what PyTorch loads late, is kept apart.
        sizes: spatial sizes in place of those of the cases.
        images: files in place of noise; the case's networks are trained then, otherwise not.

    Returns:
        a row for each case and budget, with the median of each stage.
    """
    runs: dict[tuple[str, str], list[dict[str, float]]] = {(c, b): [] for c in cases for b in budgets}
    parts = {case: bundle_parts(CASES[case][0], trained=case in images) for case in cases}
    sizes = {case: tuple(sizes.get(case, CASES[case][2])) for case in cases}
    inputs = {case: _image(case, sizes[case], images.get(case)) for case in cases}
    for _ in range(repeats + 1):
        for (case, budget), seen in runs.items():
            network, inferer = parts[case]
            seen.append(_run(inputs[case], network, inferer.with_budget(BUDGETS[budget])))
            last = seen[-1]
            print(f"{case} {sizes[case]} {budget}: {last['total']:.2f} s, network {last['network']:.2f} s", flush=True)
    return [
        {
            "case": case,
            "size": list(sizes[case]),
            "image": "real" if case in images else "noise",
            "bundle": CASES[case][0],
            "budget": budget,
            "repeats": repeats,
            "first_outside": seen[0]["total"] - seen[0]["network"],
            "share_outside": median((s["total"] - s["network"]) / s["total"] for s in seen[1:]),
            **{key: median(s[key] for s in seen[1:]) for key in seen[0]},
        }
        for (case, budget), seen in runs.items()
    ]


def _image(case: str, size: tuple[int, ...], file: Path | None) -> torch.Tensor:
    bundle, channels, _ = CASES[case]
    if file is not None:
        return bundle_image(bundle, file, size)
    torch.manual_seed(0)
    return torch.randn(1, channels, *size)


@torch.no_grad()
def _run(image: torch.Tensor, network: Any, inferer: IterativeInferer) -> dict[str, float]:
    """Seconds of one run to labels with its statistics, those of the stages without the networks in them."""
    clock = NetworkClock.of(network)
    with clock.running():
        start = time.perf_counter()
        result = inferer.run(image, network)
        composing = time.perf_counter()
        result.labels()
        labelled = time.perf_counter()
        statistics = result.statistics
        stop = time.perf_counter()
    stages = dict(statistics.seconds)
    for stage, seconds in clock.seconds.items():
        stages[stage] -= seconds
    # The stopwatch books composing under merging.
    stages |= {"labels": labelled - composing, "statistics": stop - labelled}
    stages["merge"] -= stages["labels"]
    spent = sum(clock.seconds.values())
    stages["rest"] = (stop - start) - spent - sum(stages.values())
    return {"total": stop - start, "network": spent, "windows": statistics.windows_refined, **stages}
