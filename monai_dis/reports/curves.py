"""Quality against cost, drawn with matplotlib, which is imported when a curve is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_dis.data.atomic import atomic_path

__all__ = ["Curve", "draw_curves"]


@dataclass(frozen=True)
class Curve:
    """One line, or one point, of a figure.

    Attributes:
        label: its name in the legend.
        x: cost of each point.
        y: quality of each point.
        style: ``"line"`` with markers, ``"points"`` alone, or ``"level"``, a horizontal line at the mean of ``y``.
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
    # The object interface needs no display and leaves a caller's own pyplot figures and backend alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        color = f"C{number}"
        if curve.style == "level":
            axes.axhline(sum(curve.y) / len(curve.y), color=color, linestyle="--", linewidth=1.2, label=curve.label)
            continue
        line = "none" if curve.style == "points" else "-"
        marker = "D" if curve.style == "points" else "o"
        axes.plot(curve.x, curve.y, color=color, linestyle=line, marker=marker, markersize=5, label=curve.label)
        # Every second curve has its notes below, so that those of neighbours stay legible.
        place = (4, 5) if number % 2 == 0 else (4, -11)
        for x, y, note in zip(curve.x, curve.y, curve.notes, strict=False):
            axes.annotate(note, (x, y), textcoords="offset points", xytext=place, fontsize=7, color=color)
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if x_ticks:
        axes.set_xticks(list(x_ticks), [f"{tick:g}" for tick in x_ticks])
        axes.set_xticks([], minor=True)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize=8)
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)
