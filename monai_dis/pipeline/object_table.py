"""`report-objects.csv`: the objects of all studies of a run, one in a row, for a spreadsheet or a statistics program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.printable import printable

__all__ = ["COLUMNS", "write_object_table"]

COLUMNS = (
    "study", "id", "class", "size", "unit", "column", "row", "slice", "ras_x_mm", "ras_y_mm", "ras_z_mm", "certainty", "refined",
    "quadrant", "quadrant_about",
)  # fmt: skip


def write_object_table(entries: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Write the table.

    Args:
        entries: of a report; those without a list of objects are left out.
        path: of the file.

    Returns:
        The path.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(_rows(entries))
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return path


def _rows(entries: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        study = printable(str(entry.get("study") or Path(entry["input"]).name))
        for each in entry.get("objects", ()):
            voxel = dict(zip(("column", "row", "slice"), each["voxel"], strict=False))
            place = dict(zip(("ras_x_mm", "ras_y_mm", "ras_z_mm"), each.get("ras_mm", ()), strict=False))
            known = {key: each[key] for key in ("id", "size", "unit", "certainty", "quadrant") if key in each}
            about = {"quadrant_about": entry.get("quadrants_about")} if "quadrant" in each else {}
            refined = "yes" if each["refined"] else "no"
            yield {"study": study, "class": each["name"], "refined": refined, **known, **voxel, **place, **about}
