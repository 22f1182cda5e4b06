"""Table and curve of `benchmarks/volumes.py`, from what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_dis.reports.curves import Curve, draw_curves

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
RIVAL = "sliding window, overlap 0.5"


def ours_name(share: float) -> str:
    return f"ours at {share:.0%} of the rival's sliding window"


#: Our arms, from the cheapest to the dearest.
OURS = ("coarse pass alone", *map(ours_name, SHARES), "ours, every window")


def results_table(results: Mapping[str, Any]) -> str:
    """Cost and quality of all arms, as Markdown."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    names = [n for n in OURS if n in arms] + [n for n in arms if n not in OURS]
    lines = [
        "| | Dice | HD95 (mm) | surface Dice | volume error | GMAC | share of the rival's sliding window | seconds | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sliding = arms[RIVAL]["operations"] if RIVAL in arms else None
    for arm in (arms[name] for name in names):
        share = arm["fraction_of_sliding_window"] if sliding is None else arm["operations"] / sliding
        lines.append(
            f"| {arm['name']} | {arm['dice']:.4f} | {arm['hd95']:.2f} | {arm['surface_dice']:.3f} | {arm['volume_error']:+.1%} | "
            f"{arm['operations'] / 1e9:.2f} | {share:.1%} | {arm['seconds']:.1f} | {arm['peak_memory_bytes'] / 1e6:.0f} |"
        )
    step = results["largest_step_down_of_dice"]
    lines += [
        "",
        f"{results['arms'][0]['images']} validation volumes; largest step down of Dice as the budget grows: {step:.4f}.",
    ]
    return "\n".join(lines)


def draw(path: Path, results: Mapping[str, Any]) -> None:
    arms = {arm["name"]: arm for arm in results["arms"]}

    def line(label: str, names: list[str], style: str = "line") -> Curve:
        points = sorted((arms[name] for name in names if name in arms), key=lambda arm: arm["operations"])
        return Curve(label, [p["operations"] / 1e9 for p in points], [p["dice"] for p in points], style)

    curves = [
        line("deep iterative segmentation", list(OURS)),
        line("sliding window", [name for name in arms if name.startswith("sliding window")]),
        *[line(name, [name], "points") for name in arms if name not in OURS and not name.startswith("sliding window")],
    ]
    draw_curves([c for c in curves if c.x], path, log_x=True, x_label="billion multiply-accumulates", y_label="Dice")
