"""`report.html` of an evaluation: arms side by side, differences that hold image by image, the curve, and pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.reports.page import PAGE_NAME, embedded_picture, page_head

__all__ = ["write_evaluation_page"]

_COLUMNS = {
    "dice": "Dice",
    "surface_dice": "surface Dice",
    "hd95": "HD95",
    "volume_error": "volume error",
    "fraction_of_full_pass": "share of a full pass",
    "fraction_of_sliding_window": "share of a sliding window",
    "seconds": "seconds",
}
_SHARES = ("volume_error", "fraction_of_full_pass", "fraction_of_sliding_window")
_SIDE = 1600  # pixels, the longer side of an embedded picture


def write_evaluation_page(results: Mapping[str, Any], folder: Path, pictures: Mapping[str, Path]) -> Path:
    """Write the page beside ``metrics.json``.

    Args:
        results: the content of ``metrics.json``.
        folder: where the page goes; ``curve.png`` is shown where it is there.
        pictures: pictures of cases by name.

    Returns:
        The page's path.
    """
    arms = [arm for arm in results["arms"] if arm["images"]]
    settings = results["settings"]
    parts = [
        page_head(f"Evaluation on {settings['dataset']}, {settings['split']}"),
        "<h2>Arms</h2><p>Means over images; seconds are medians.</p>",
        _table(["arm", "images", *_COLUMNS.values()], [_arm(arm) for arm in arms]),
    ]
    compared = [arm for arm in arms if arm.get("against")]
    if compared:
        first = compared[0]["against"]["arm"]
        parts.append(
            f"<h2>Against {html.escape(first)}, image by image</h2>"
            "<p>Mean difference with its 95 % interval (bootstrap), images that rose, and p of Wilcoxon's test.</p>"
        )
        parts.append(_table(["arm", "measure", "difference", "interval", "images", "p"], _differences(compared)))
    classes = _classes(arms, results.get("label_names", {}))
    if classes:
        parts.append("<h2>Dice by class</h2>")
        parts.append(_table(["arm", *classes.values()], [_by_class(arm, list(classes)) for arm in arms]))
    if (folder / "curve.png").is_file():
        parts.append(f"<h2>Dice against cost</h2>{embedded_picture(folder / 'curve.png')}")
    for name, path in pictures.items():
        parts.append(f"<h2>{html.escape(name)}</h2>{embedded_picture(path, _SIDE)}")
    failed = [row for row in results["rows"] if row.get("error")]
    parts += [f"<p class='error'>{html.escape(str(row['error']))}</p>" for row in failed]
    parts.append("</body></html>\n")
    with atomic_path(folder / PAGE_NAME) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return folder / PAGE_NAME


def _arm(arm: Mapping[str, Any]) -> list[str]:
    cells = [str(arm["name"]), str(arm["images"])]
    for key in _COLUMNS:
        figures = arm["summary"].get(key)
        cells.append("" if figures is None else _number(figures["median" if key == "seconds" else "mean"], key))
    return cells


def _differences(arms: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for arm in arms:
        for measure, found in arm["against"]["measures"].items():
            p = "" if found["p_value"] is None or isnan(found["p_value"]) else f"{found['p_value']:.3g}"
            interval = f"{found['low']:+.4f} to {found['high']:+.4f}"
            counts = f"{found['better']} of {found['images']}"
            rows.append([arm["name"], _COLUMNS[measure], f"{found['difference']:+.4f}", interval, counts, p])
    return rows


def _classes(arms: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, str]:
    keys = [key for key in (arms[0]["summary"] if arms else {}) if key.startswith("dice_")]
    return {key: names.get(key.removeprefix("dice_"), key.removeprefix("dice_")) for key in keys}


def _by_class(arm: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [str(arm["name"]), *(_number(arm["summary"][key]["mean"], "dice") for key in keys)]


def _number(value: float | None, key: str) -> str:
    if value is None or isnan(value):
        return ""
    if key in _SHARES:
        return f"{value:.1%}"
    return f"{value:.2f}" if key in ("hd95", "seconds") else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td class='n'>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"
