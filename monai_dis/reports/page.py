"""`report.html`: one page, with nothing outside it, that shows a person what a run of `segment` did."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from monai_dis.data.atomic import atomic_path

__all__ = ["PAGE_NAME", "embedded_picture", "page_head", "write_page"]

PAGE_NAME = "report.html"
_THUMBNAIL = 720  # pixels, the longer side of an embedded picture
_OBJECTS = 50  # rows of the list of one image; all that are known stand in the table beside the page
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_PICTURES = 24  # more would make the page too heavy to open; the rest are links

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 600; } td.n { font-variant-numeric: tabular-nums; }
section { margin: 2rem 0; display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.5rem; }
img { max-width: 100%; height: auto; }
section img { width: 100%; border-radius: 6px; }
h2 { margin: 0 0 .5rem; font-size: 1.05rem; overflow-wrap: anywhere; }
.error, .reject { color: #c22; }
.warn { color: #a60; }
@media (max-width: 48rem) { section { grid-template-columns: 1fr; } }
"""


def write_page(report: Mapping[str, Any], folder: Path, title: str = "Segmentation report") -> Path:
    """Write `report.html` beside a `report.json`.

    Args:
        report: the content of `report.json`.
        folder: where the overlays lie and the page goes.
        title: heading of the page.

    Returns:
        The page's path.
    """
    summary, images = report["summary"], report["images"]
    parts = [
        page_head(title),
        _table(_summary_rows(summary, report.get("settings", {}))),
    ]
    for number, entry in enumerate(images):
        parts.append(_section(entry, folder, embed=number < _PICTURES))
    parts.append("</body></html>\n")
    with atomic_path(folder / PAGE_NAME) as temporary:
        # a name may hold bytes that are no text
        temporary.write_bytes("\n".join(parts).encode("utf-8", errors="replace"))
    return folder / PAGE_NAME


def page_head(title: str) -> str:
    """The beginning of a page, up to its heading."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
    )


def _summary_rows(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    kept = f", {summary['kept']} kept from an earlier run" if summary["kept"] else ""
    failed = f", {summary['failed']} failed" if summary["failed"] else ""
    skipped = f", {summary['skipped']} skipped" if summary.get("skipped") else ""
    rows = [("images", f"{summary['done']} done{kept}{failed}{skipped}"), ("mode", str(settings.get("mode", "")))]
    if summary["windows_total"]:
        rows.append(("windows", f"{summary['windows_refined']} of {summary['windows_total']} refined"))
    if summary["mean_fraction_of_full_pass"] is not None:
        rows.append(("cost", f"{summary['mean_fraction_of_full_pass']:.1%} of one full pass (mean)"))
    if summary["mean_fraction_of_sliding_window"] is not None:
        rows.append(("", f"{summary['mean_fraction_of_sliding_window']:.1%} of a sliding window at overlap 0.5 (mean)"))
    rows.append(("time", f"{summary['seconds']:.1f} s"))
    if summary["peak_memory_bytes"]:
        rows.append(("peak memory", f"{summary['peak_memory_bytes'] / 2**20:.0f} MiB"))
    return rows


def _section(entry: Mapping[str, Any], folder: Path, *, embed: bool) -> str:
    name = html.escape(str(entry.get("study") or Path(entry["input"]).name))
    reason = entry.get("error") or entry.get("skipped")
    found = "".join(
        f"<p class='{each['policy']}'>{html.escape(each['code'])}: {html.escape(each['message'])}</p>"
        for each in entry.get("findings", ())
        if each["policy"] in ("warn", "reject")
    )
    if reason:
        return f"<section><div><h2>{name}</h2><p class='error'>{html.escape(reason)}</p>{found}</div></section>"
    files = {
        "segmentation": entry.get("output"),
        "report (SR)": entry.get("sr"),
        "uncertainty": entry.get("uncertainty"),
    }
    rows = [
        *((what, _link(path)) for what, path in files.items() if path),
        *((f"mask of {label}", _link(mask)) for label, mask in entry.get("masks", {}).items()),
        ("windows", f"{entry['windows_refined']} of {entry['windows_total']}"),
        ("operations", f"{entry['operations'] / 1e9:.2f} billion multiply-accumulates"),
        ("share of a full pass", f"{entry['fraction_of_full_pass']:.1%}"),
        ("share of a sliding window", f"{entry['fraction_of_sliding_window']:.1%}"),
        *((f"{stage} (s)", f"{seconds:.3f}") for stage, seconds in entry["seconds"].items()),
    ]
    seen = f"{_overlay(entry, folder, embed)}{_objects(entry)}"
    return f"<section><div>{seen}</div><div><h2>{name}</h2>{found}{_table(rows, escape=False)}</div></section>"


def _objects(entry: Mapping[str, Any]) -> str:
    """What was found, one object a row, the largest first; of pictures their number by quadrant too."""
    objects = entry.get("objects", ())
    if not objects:
        return ""
    shown, total = objects[:_OBJECTS], sum(entry["object_counts"].values())
    head = ("", "class", "size", "middle (voxel)", "middle (RAS, mm)", "certainty", "refined", "quadrant")
    rows = [
        (
            str(each["id"]),
            each["name"],
            f"{each['size']:g} {each['unit']}",
            _numbers(each["voxel"]),
            _numbers(each.get("ras_mm", ())),
            f"{each['certainty']:.2f}" if "certainty" in each else "",
            "yes" if each["refined"] else "no",
            each.get("quadrant", ""),
        )
        for each in shown
    ]
    seen = [place for place in range(len(head)) if any(row[place] for row in rows)]
    more = f", of which the largest {len(shown)} are listed" if total > len(shown) else ""
    parts = [f"<details><summary>{total} {'object' if total == 1 else 'objects'}{more}</summary>"]
    parts.append(_wide_table([[head[place] for place in seen], *([row[place] for place in seen] for row in rows)]))
    parts.append(_quadrants(entry))
    if any("certainty" in each for each in shown):
        parts.append(
            "<p>Certainty: 1 minus the mean entropy of the probabilities in the object; 0 is no better than chance.</p>"
        )
    return "".join(parts) + "</details>"


def _quadrants(entry: Mapping[str, Any]) -> str:
    if not entry.get("quadrants"):
        return ""
    head = ["", *_QUADRANTS]
    rows = [[name, *(str(counts.get(each, 0)) for each in _QUADRANTS)] for name, counts in entry["quadrants"].items()]
    return f"<p>Objects by quadrant about {html.escape(entry['quadrants_about'])}:</p>{_wide_table([head, *rows])}"


def _wide_table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = rows
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in first)
    body = "".join(
        "<tr>" + "".join(f"<td class='n'>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in others
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _overlay(entry: Mapping[str, Any], folder: Path, embed: bool) -> str:
    if not entry.get("overlay"):
        return "<p>no picture is made of this image</p>"
    overlay = folder / Path(entry["overlay"]).name
    return f"<a href='{_address(overlay.name)}'>{embedded_picture(overlay) if embed else html.escape(overlay.name)}</a>"


def _link(path: str) -> str:
    name = Path(path).name
    return f"<a href='{_address(name)}'>{html.escape(name)}</a>"


def _address(name: str) -> str:
    """A file beside the page as a link: a name may hold what means something in an address."""
    return quote(os.fsencode(name))


def embedded_picture(path: Path, side: int = _THUMBNAIL) -> str:
    """An ``img`` element that holds the picture, shrunk to ``side`` pixels."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError:
        return html.escape(path.name)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{html.escape(path.name)}' src='data:image/jpeg;base64,{data}'>"


def _table(rows: Sequence[tuple[str, str]], *, escape: bool = True) -> str:
    cells = (
        f"<tr><th>{html.escape(name)}</th><td class='n'>{html.escape(value) if escape else value}</td></tr>"
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"
