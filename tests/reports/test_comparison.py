"""Answers beside the truth: each pixel of a small case has the colour that it must have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from monai_dis.reports.comparison import _MISSED, _OTHER, _TOO_MUCH, comparison_picture
from monai_dis.reports.palette import level_color

TITLE = 26


@dataclass(frozen=True)
class Box:
    level: int
    corners: np.ndarray


def box(low: tuple[float, ...], high: tuple[float, ...], level: int = 1) -> Box:
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, len(low))
    return Box(level, corners.astype(float))


def panels(picture: object, count: int, width: int) -> list[np.ndarray]:
    pixels = np.asarray(picture)
    assert pixels.shape[1] == count * width + 4 * (count - 1)
    return [pixels[TITLE:, n * (width + 4) : n * (width + 4) + width] for n in range(count)]


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """A tint of the colour over black."""
    return bool(np.abs(pixel - 0.65 * np.asarray(colour)).max() <= 1)


def test_errors_of_a_picture_have_their_colours() -> None:
    truth = np.zeros((40, 40), dtype=np.uint8)  # (columns, rows)
    truth[10:20, 10:30] = 1
    answer = np.zeros_like(truth)
    answer[15:25, 10:30] = 1  # the left half is missed, as much on the right is too much
    answer[15:20, 25:30] = 2  # and the last rows have another class
    picture = comparison_picture(
        np.zeros((1, 40, 40)), truth, {"coarse": truth, "refined": answer}, [], np.eye(3), side=40
    )
    _, clean, wrong = panels(picture, 3, 40)
    assert not clean.any()
    assert near(wrong[15, 12], _MISSED)
    assert near(wrong[15, 22], _TOO_MUCH)
    assert near(wrong[27, 17], _OTHER)
    assert not wrong[15, 17].any() and not wrong[5, 5].any()


@pytest.mark.parametrize("flipped", [False, True])
def test_a_volume_shows_the_slice_where_answers_differ_most(flipped: bool) -> None:
    truth = np.zeros((20, 20, 9), dtype=np.uint8)
    truth[5:15, 5:15] = 1
    coarse = truth.copy()
    coarse[..., 4] = 0  # the coarse answer misses all of slice 4
    image = np.zeros((1, 20, 20, 9))
    affine = np.diag([-1.0 if flipped else 1.0, 1.0, 3.0, 1.0])
    boxes = [box((4, 4, 3), (16, 10, 5)), box((0, 0, 7), (19, 19, 8), level=2)]
    picture = comparison_picture(image, truth, {"coarse": coarse, "refined": truth}, boxes, affine, side=20)
    contours, wrong, clean = panels(picture, 3, 20)
    assert near(wrong[10, 10], _MISSED)
    assert not clean.any()
    # the window of this slice is drawn, that of other slices is not; anterior is up, the patient's right on the left
    found = (contours == np.asarray(level_color(1))).all(-1)
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max()) == (9, 15)
    assert (columns.min(), columns.max()) == ((4, 16) if flipped else (3, 15))
    assert not (contours == np.asarray(level_color(2))).all(-1).any()


def test_thick_slices_keep_their_shape() -> None:
    truth = np.ones((20, 20, 4), dtype=np.uint8)
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    picture = comparison_picture(np.zeros((1, 20, 20, 4)), truth, {"a": truth}, [], affine, side=100)
    assert picture.size == (2 * 50 + 4, 100 + TITLE)
