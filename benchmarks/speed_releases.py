"""A row for each release and machine: the few figures by which one sees whether a release is faster than the last one."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_dis import __version__

__all__ = ["machine", "read_rows", "release_row", "releases_table", "replaced"]

Row = Mapping[str, Any]


def machine() -> str:
    """Processor, cores, memory, accelerator, and the PyTorch that computes on them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB{gpu}, PyTorch {torch.__version__}"


def release_row(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The row of what runs here and now, from what was measured; results by the name of their table."""
    figures: dict[str, str] = {}
    for row in results.get("bundles", {}).get("rows", ()):
        if row["arm"] == "ours":
            figures[f"{row['bundle']}, s"] = f"{sum(row['seconds'].values()):.2f}"
    for row in results.get("volumes", {}).get("rows", ()):
        if row["arm"].startswith("ours, 10 % of") and "seconds" in row and row["classes"] == 16:
            size = " x ".join(map(str, row["size"]))
            seconds, memory = sum(row["seconds"].values()), row["peak_memory_bytes"] / 1e9
            figures[f"{size}, 16 classes"] = f"{seconds:.1f} s, {memory:.2f} GB"
    for row in results.get("overhead", {}).get("rows", ()):
        figures[f"{row['case']} {row['image']}, outside"] = f"{row['share_outside']:.0%}"
    for row in results.get("growth", {}).get("exponents", ()):
        if row["measure"] == "seconds" and row["ours_against_voxels"] is not None:
            figures[f"{row['dims']}D exponent"] = f"{row['ours_against_voxels']:.2f}"
    return {"release": __version__, "machine": machine(), "figures": figures}


def replaced(rows: Sequence[Row], new: Row) -> list[Row]:
    """Rows with a new one in the place of that of the same release and machine, or behind them."""
    kept = [row for row in rows if (row["release"], row["machine"]) != (new["release"], new["machine"])]
    return [*kept, new]


def releases_table(rows: Sequence[Row]) -> str:
    """Rows as Markdown; what one of them did not measure stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    lines = [f"| release | machine | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for row in rows:
        cells = " | ".join(str(row["figures"].get(name, "")) for name in names)
        lines.append(f"| {row['release']} | {row['machine']} | {cells} |")
    return "\n".join(lines)


def read_rows(file: Path) -> list[Row]:
    """Rows of a file, none where it is not there."""
    return list(json.loads(file.read_text(encoding="utf-8"))["rows"]) if file.is_file() else []
