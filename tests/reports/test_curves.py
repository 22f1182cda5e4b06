"""Figures of quality against cost."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_dis.reports.curves import Curve, draw_curves, draw_panels
from monai_dis.reports.palette import hex_color, line_color


def test_a_figure_shows_each_curve_in_a_colour_of_its_own(tmp_path: Path) -> None:
    curves = [
        Curve("ours", [0.1, 0.2, 0.4], [0.7, 0.8, 0.9]),
        Curve("baseline", [1.0], [0.85], "points"),
        Curve("full", [], [0.8], "level"),
    ]
    with Image.open(draw_curves(curves, tmp_path / "curve.png", title="Dice")) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for color in map(line_color, range(3)):
        assert (np.abs(pixels.astype(int) - color).max(axis=1) <= 2).sum() > 50


def test_more_curves_than_colours_still_look_different(tmp_path: Path) -> None:
    curves = [Curve(str(number), [0.1, 0.2], [0.5, 0.5 + number / 100]) for number in range(10)]
    drawn = draw_curves(curves, tmp_path / "curve.svg").read_text(encoding="utf-8")
    ours = {hex_color(line_color(number)) for number in range(10)}
    looks = re.findall(r'style="fill: none; (stroke-dasharray: [^;]+; )?[^"]*?stroke: (#[0-9a-f]{6})', drawn)
    assert len({(dash, color) for dash, color in looks if color in ours}) == len(curves)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_chooses_the_format_and_nothing_else_is_left(suffix: str, tmp_path: Path) -> None:
    draw_curves([Curve("ours", [0.1], [0.5], notes=["4"])], tmp_path / f"curve.{suffix}", log_x=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"curve.{suffix}"]


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw_curves([], tmp_path / "curve.png")
    assert ("matplotlib.pyplot" in sys.modules) == before


def _colours(path: Path) -> np.ndarray:
    """Pixels of the first two lines' colours in each quarter of the picture: (2, rows, columns, line)."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    quarters = [pixels[r : r + rows, c : c + columns] for r in (0, rows) for c in (0, columns)]
    return np.array(
        [[(np.abs(q - line_color(n)).max(axis=2) <= 2).sum() for n in range(2)] for q in quarters]
    )  # fmt: skip


def test_each_panel_has_its_own_curves(tmp_path: Path) -> None:
    line = Curve("ours", [0, 1, 10], [0.2, 0.5, 0.9], "plain")
    other = Curve("theirs", [0.1, 1, 10], [0.1, 0.3, 0.7], "plain")
    panels = {"a": [line], "b": [line, other], "c": [], "d": [line]}
    path = draw_panels(panels, tmp_path / "a.png", x_label="x", y_label="y", x_limits=(0.1, 10), log_x=True)
    assert (_colours(path) > 50).tolist() == [[True, False], [True, True], [False, False], [True, False]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_any_number_of_panels(count: int, tmp_path: Path) -> None:
    panels = {str(number): [Curve("ours", [0, 1], [0, 1], "plain")] for number in range(count)}
    assert draw_panels(panels, tmp_path / "a.png", x_label="x", y_label="y").is_file()
