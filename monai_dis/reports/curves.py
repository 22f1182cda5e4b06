"""Curves, such as quality against cost, drawn with matplotlib, which is imported when a curve is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.reports.palette import LINE_COLORS, hex_color, line_color

__all__ = ["Curve", "draw_curves", "draw_panels"]

_DASHES = ("-", "--", "-.", ":")
# Colours come back where there are many curves; with these no two points look alike.
_POINTS = ("D", "s", "^", "v", "X")


@dataclass(frozen=True)
class Curve:
    """One line, or one point, of a figure.

    Attributes:
        label: its name in the legend.
        x: cost of each point.
        y: quality of each point.
        style: ``"line"`` with markers, ``"plain"`` without (for many points), ``"points"`` alone, or ``"level"``, a
            horizontal line at the mean of ``y``.
        notes: text beside each point, such as the number of windows; empty for none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "line"
    notes: Sequence[str] = ()


def draw_curves(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    title: str = "",
    x_label: str = "share of one full pass",
    y_label: str = "Dice",
    log_x: bool = False,
    x_ticks: Sequence[float] = (),
) -> Path:
    """Write a figure of one or more curves as PNG, SVG or PDF, whichever the suffix says.

    Args:
        curves: what to draw, in the order of the legend.
        path: file to write.
        title: above the figure.
        x_label: below the figure.
        y_label: beside the figure.
        log_x: whether the cost axis is logarithmic.
        x_ticks: the only places that the cost axis names; chosen automatically when empty.

    Returns:
        ``path``.
    """
    figure = _figure(7.5, 4.8)
    axes = figure.add_subplot()
    _draw(axes, curves)
    if log_x:
        _logarithmic(axes)
    if x_ticks:
        axes.set_xticks(list(x_ticks), [f"{tick:g}" for tick in x_ticks])
        axes.set_xticks([], minor=True)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    return _save(figure, path)


def draw_panels(
    panels: Mapping[str, Sequence[Curve]],
    path: str | Path,
    *,
    x_label: str,
    y_label: str,
    x_limits: tuple[float, float] = (0.0, 1.0),
    log_x: bool = False,
) -> Path:
    """Write a figure of several panels on the same axes, such as one for each class; quality goes from 0 to 1.

    Args:
        panels: the curves of each panel by its title.
        path: file to write.
        x_label: below the panels.
        y_label: beside the panels.
        x_limits: ends of the axis below.
        log_x: whether that axis is logarithmic; what lies left of its end is drawn there.

    Returns:
        ``path``.
    """
    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns) if panels else 0
    figure = _figure(3.75 * max(columns, 1) + 1.0, 3.2 * max(rows, 1) + 0.4)
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        if log_x:
            _logarithmic(axes)
            curves = [replace(curve, x=[max(x, x_limits[0]) for x in curve.x]) for curve in curves]
        _draw(axes, curves)
        axes.set(title=title, xlim=x_limits, ylim=(0.0, 1.02))
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel(y_label, fontsize="medium")
    return _save(figure, path)


def _figure(width: float, height: float) -> Any:
    # The object interface needs no display and leaves a caller's own pyplot figures and backend alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(axes: Any, curves: Sequence[Curve]) -> None:
    for number, curve in enumerate(curves):
        color = hex_color(line_color(number))
        if curve.style == "level":
            axes.axhline(sum(curve.y) / len(curve.y), color=color, linestyle="--", linewidth=1.2, label=curve.label)
            continue
        if curve.style == "plain":
            axes.plot(curve.x, curve.y, color=color, linestyle=_DASHES[number % len(_DASHES)], label=curve.label)
            continue
        line = "none" if curve.style == "points" else _DASHES[number // LINE_COLORS % len(_DASHES)]
        marker = _POINTS[number % len(_POINTS)] if curve.style == "points" else "o"
        axes.plot(curve.x, curve.y, color=color, linestyle=line, marker=marker, markersize=5, label=curve.label)
        # Every second curve has its notes below, so that those of neighbours stay legible.
        place = (4, 5) if number % 2 == 0 else (4, -11)
        for x, y, note in zip(curve.x, curve.y, curve.notes, strict=False):
            axes.annotate(note, (x, y), textcoords="offset points", xytext=place, fontsize=7, color=color)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize=8)


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _save(figure: Any, path: str | Path) -> Path:
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)
