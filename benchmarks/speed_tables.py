"""Tables and plot of `benchmarks/speed.py`, from what it measured: Markdown between marks, CSV beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed_overhead import STAGES
from speed_pipeline import STAGES as FILE_STAGES

from monai_dis.data.atomic import atomic_path
from monai_dis.reports.curves import Curve, draw_curves

__all__ = ["bundles_table", "draw_growth", "growth_table", "overhead_table", "volumes_table", "write_csv"]

Rows = Sequence[Mapping[str, Any]]


def overhead_table(results: Mapping[str, Any]) -> str:
    """Seconds outside the networks' forward passes, by stage."""
    stages = [stage for stage in STAGES if any(stage in row for row in results["rows"])]
    lines = [
        f"| | image | budget | seconds | in networks | outside | {' | '.join(stages)} |",
        f"|---|---|---|---|---|---|{'---|' * len(stages)}",
    ]
    for row in results["rows"]:
        cells = " | ".join(f"{row[stage]:.2f}" for stage in stages)
        lines.append(
            f"| {_times(row['size'])}, {row['bundle']} | {row['image']} | {row['budget']} | {row['total']:.2f} | {row['network']:.2f} | "
            f"{row['share_outside']:.1%} | {cells} |"
        )
    return "\n".join([*lines, "", _how(results)])


def growth_table(results: Mapping[str, Any]) -> str:
    """Cost at each resolution, and the exponents that fit it."""
    lines = [
        "| | resolution | windows, ours | windows, sliding | GMAC, ours | GMAC, sliding | seconds, ours | seconds, sliding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {(row["dims"], row["factor"], row["arm"]): row for row in results["rows"]}
    for dims, factor in sorted({key[:2] for key in rows}):
        ours, sliding = rows[dims, factor, "ours"], rows[dims, factor, "sliding window"]
        lines.append(
            f"| {dims}D | {factor} | {ours['windows']} | {sliding['windows']} | {ours['operations'] / 1e9:.1f} | "
            f"{sliding['operations'] / 1e9:.1f} | {ours['seconds']:.2f} | {sliding['seconds']:.2f} |"
        )
    lines += [
        "",
        "| | exponent of | ours against the sliding window | ours against voxels | the sliding window against voxels |",
        "|---|---|---|---|---|",
    ]
    for fit in results["exponents"]:
        names = ("ours_against_sliding_window", "ours_against_voxels", "sliding_window_against_voxels")
        cells = " | ".join("" if fit[name] is None else f"{fit[name]:.2f}" for name in names)
        lines.append(f"| {fit['dims']}D | {fit['measure']} | {cells} |")
    return "\n".join([*lines, "", _how(results)])


def volumes_table(results: Mapping[str, Any]) -> str:
    """Seconds by stage and memory from file to file."""
    lines = [
        f"| volume | classes | | seconds | {' | '.join(FILE_STAGES)} | peak MB |",
        f"|---|---|---|---|{'---|' * len(FILE_STAGES)}---|",
    ]
    for row in results["rows"]:
        lead = f"| {_times(row['size'])} | {row['classes']} | {row['arm']} | "
        if "failed" in row:
            lines.append(f"{lead}{row['failed']} |{' |' * (len(FILE_STAGES) + 1)}")
            continue
        cells = " | ".join(f"{row['seconds'][stage]:.2f}" for stage in FILE_STAGES)
        total = sum(row["seconds"].values())
        lines.append(f"{lead}{total:.2f} | {cells} | {row['peak_memory_bytes'] / 1e6:.0f} |")
    return "\n".join([*lines, "", _how(results)])


def bundles_table(results: Mapping[str, Any]) -> str:
    """Seconds a volume of bundles and their rivals, and how many times faster ours are."""
    lines = [
        "| bundle | | seconds | networks and inferer | ours is faster, whole | ours is faster, networks and inferer | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = {row["bundle"]: row["seconds"] for row in results["rows"] if row["arm"] == "ours"}
    for row in results["rows"]:
        seconds, own = row["seconds"], ours[row["bundle"]]
        total, network = sum(seconds.values()), seconds["infer"]
        faster = f"{total / sum(own.values()):.1f} times | {network / own['infer']:.1f} times"
        lines.append(
            f"| {row['bundle']} | {row['arm']} | {total:.2f} | {network:.2f} | {faster if row['arm'] != 'ours' else ' | '} | "
            f"{row['peak_memory_bytes'] / 1e6:.0f} |"
        )
    return "\n".join([*lines, "", _how(results)])


def draw_growth(path: Path, results: Mapping[str, Any]) -> None:
    """Seconds and operations of ours as shares of those of the sliding window, against resolution."""
    curves = []
    for dims in sorted({row["dims"] for row in results["rows"]}):
        rows = {(row["arm"], row["factor"]): row for row in results["rows"] if row["dims"] == dims}
        factors = sorted({factor for _, factor in rows})
        for measure in ("seconds", "operations"):
            shares = [rows["ours", f][measure] / rows["sliding window", f][measure] for f in factors]
            curves.append(Curve(f"{dims}D, {measure}", factors, shares))
    draw_curves(curves, path, log_x=True, x_label="resolution", y_label="share of the sliding window")


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows of figures; what a row holds by name becomes columns of their own."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{name}": item for name, item in value.items()}
        else:
            flat[key] = _times(value) if isinstance(value, list) else value
    return flat


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _how(results: Mapping[str, Any]) -> str:
    kind = "processor time" if results["clock"] == "cpu" else "wall clock"
    return f"Seconds are medians of {results['repeats']} runs, {kind}, {results['threads']} thread(s)."
