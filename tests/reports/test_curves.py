"""Figures of quality against cost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_dis.reports.curves import Curve, draw_curves


def test_a_figure_shows_each_curve_in_a_colour_of_its_own(tmp_path: Path) -> None:
    curves = [
        Curve("ours", [0.1, 0.2, 0.4], [0.7, 0.8, 0.9]),
        Curve("baseline", [1.0], [0.85], "points"),
        Curve("full", [], [0.8], "level"),
    ]
    with Image.open(draw_curves(curves, tmp_path / "curve.png", title="Dice")) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # matplotlib's first three colours
    for color in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):
        assert (np.abs(pixels.astype(int) - color).max(axis=1) <= 2).sum() > 50


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_chooses_the_format_and_nothing_else_is_left(suffix: str, tmp_path: Path) -> None:
    draw_curves([Curve("ours", [0.1], [0.5], notes=["4"])], tmp_path / f"curve.{suffix}", log_x=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"curve.{suffix}"]


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw_curves([], tmp_path / "curve.png")
    assert ("matplotlib.pyplot" in sys.modules) == before
