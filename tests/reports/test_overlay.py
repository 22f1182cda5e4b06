"""Overlays: colours where the labels are, lines where the windows are, in the picture's own axes."""

from __future__ import annotations

import numpy as np
import pytest

from monai_dis.reports.overlay import Outline, draw_overlay
from monai_dis.reports.palette import class_color, level_color

BLACK = np.zeros((60, 100, 3), dtype=np.uint8)


def rectangle(level: int, top: int, left: int, bottom: int, right: int) -> Outline:
    first, last, upper, lower = left - 0.5, right - 0.5, top - 0.5, bottom - 0.5
    return Outline(level, ((upper, first), (upper, last), (lower, last), (lower, first)))


def test_nothing_to_show_is_the_image_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(draw_overlay(image, np.zeros((60, 100), dtype=int))), image)


def test_labels_tint_their_own_pixels_only() -> None:
    labels = np.zeros((60, 100), dtype=int)
    labels[10:30, 50:90] = 2
    picture = np.asarray(draw_overlay(BLACK, labels))[:60]
    assert picture[:10].max() == picture[30:].max() == picture[:, :50].max() == 0
    ratio = picture[20, 70] / np.asarray(class_color(2))
    assert np.allclose(ratio, ratio[0], atol=0.02)
    assert 0.3 < ratio[0] < 0.6
    assert picture[10, 70].sum() > picture[20, 70].sum()  # the edge is stronger than the inside


def test_windows_are_drawn_at_their_borders_finer_levels_on_top() -> None:
    windows = [rectangle(2, 20, 40, 40, 60), rectangle(1, 20, 20, 40, 60)]
    picture = np.asarray(draw_overlay(BLACK, np.zeros((60, 100), dtype=int), windows))[:60]
    assert tuple(picture[20, 30]) == level_color(1)
    assert tuple(picture[20, 50]) == level_color(2)
    assert picture[30, 30].sum() == 0
    assert picture[:19].max() == 0
    assert picture[42:].max() == 0


def test_a_legend_names_classes_and_levels() -> None:
    labels = np.zeros((60, 100), dtype=int)
    labels[0, 0] = 1
    plain, legend = draw_overlay(BLACK, labels * 0), draw_overlay(BLACK, labels, [rectangle(1, 1, 1, 9, 9)])
    assert plain.size == (100, 60)
    assert legend.size[1] > 60
    assert np.asarray(legend)[60:].max() > 200


@pytest.mark.parametrize(
    ("shape", "aspect", "size"),
    [((50, 200), 1.0, (100, 25)), ((50, 200), 2.0, (100, 50)), ((400, 100), 1.0, (25, 100))],
)
def test_large_pictures_shrink_in_proportion(shape: tuple[int, int], aspect: float, size: tuple[int, int]) -> None:
    picture = draw_overlay(np.zeros(shape), np.zeros(shape, dtype=int), pixel_aspect=aspect, max_side=100)
    assert picture.size == size


def test_small_pictures_are_enlarged_where_asked() -> None:
    labels = np.zeros((10, 20), dtype=int)
    labels[2:4, 4:6] = 1
    picture = draw_overlay(np.zeros((10, 20)), labels, min_side=200)
    shown = np.asarray(picture)[:100].max(axis=2) > 0
    assert picture.size[0] == 200
    assert np.array_equal(np.argwhere(shown).min(axis=0), (20, 40))
    assert np.array_equal(np.argwhere(shown).max(axis=0), (39, 59))


def test_a_thin_line_survives_shrinking() -> None:
    labels = np.zeros((1000, 1000), dtype=int)
    labels[:, 500] = 1
    picture = np.asarray(draw_overlay(np.zeros((1000, 1000)), labels, max_side=100))[:100]
    assert (picture[:, 49:51].max(axis=(1, 2)) > 5).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_an_image_without_contrast_or_numbers_is_drawn(value: float) -> None:
    assert draw_overlay(np.full((8, 8), value), np.zeros((8, 8), dtype=int)).size == (8, 8)
