"""The picture of a result: a photograph upright, a volume as its most telling slice, seen as radiologists see it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from monai_dis.reports.palette import level_color
from monai_dis.reports.picture import result_picture


@dataclass(frozen=True)
class Box:
    level: int
    corners: NDArray[np.float64]

    @classmethod
    def of(cls, level: int, low: tuple[int, ...], high: tuple[int, ...]) -> Box:
        return cls(level, np.asarray(list(itertools.product(*zip(low, high, strict=True))), dtype=float) - 0.5)


def test_a_photograph_is_upright_with_windows_in_place() -> None:
    image = np.zeros((3, 40, 20), dtype=np.float32)  # (C, columns, rows), as MONAI reads a picture
    image[0, 30:, :5] = 255
    picture = np.asarray(result_picture(image, np.zeros((40, 20), dtype=int), [Box.of(1, (4, 6), (12, 16))], np.eye(3)))
    assert picture.shape[1] == 40
    assert tuple(picture[2, 35]) == (255, 0, 0)
    assert tuple(picture[6, 8]) == tuple(picture[11, 4]) == level_color(1)
    assert tuple(picture[11, 8]) == (0, 0, 0)


def volume(order: tuple[int, int, int], signs: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A volume, in any storage order, with one bright voxel near the patient's right, front and head; and its affine."""
    sizes = (12, 16, 20)  # extent along right-left, back-front, foot-head
    shape = [0, 0, 0]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    target = [0, 0, 0]
    wanted = (9, 13, 15)  # towards +x (right), +y (front), +z (head) counted in voxels from the negative end
    for world, axis in enumerate(order):
        shape[axis] = sizes[world]
        affine[world, axis] = signs[world]
        target[axis] = wanted[world] if signs[world] > 0 else sizes[world] - 1 - wanted[world]
    image = np.zeros((1, *shape), dtype=np.float32)
    image[(0, *target)] = 100
    return image, affine


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_volume_is_seen_with_the_front_up_and_the_right_on_the_left(
    order: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    image, affine = volume(order, signs)
    head = 15 if signs[2] > 0 else 4
    low, high = [0, 0, 0], list(image.shape[1:])
    low[order[2]], high[order[2]] = head, head + 1
    boxes = [Box.of(1, tuple(low), tuple(high))]
    picture = np.asarray(result_picture(image, np.zeros(image.shape[1:], dtype=int), boxes, affine))[:16]
    bright = np.argwhere(picture[1:-1, 1:-1].min(axis=2) == 255) + 1
    # 12 columns from right (+x) to left; x index 9 lies 2 columns from the right end. 16 rows from front (+y) to back.
    assert bright.tolist() == [[16 - 1 - 13, 12 - 1 - 9]]


def test_the_slice_that_meets_most_windows_is_shown() -> None:
    image = np.arange(10, dtype=np.float32)[None, None, None, :].repeat(8, axis=1).repeat(8, axis=2)
    boxes = [Box.of(1, (0, 0, 2), (8, 8, 6)), Box.of(1, (0, 0, 5), (8, 8, 9))]
    two_windows = np.asarray(result_picture(image, np.zeros((8, 8, 10), dtype=int), boxes, np.eye(4)))
    assert two_windows.shape[0] > 8  # a legend: windows are there
    foreground = np.zeros((8, 8, 10), dtype=int)
    foreground[2:4, 2:4, 8] = 1
    without = np.asarray(result_picture(image, foreground, [], np.eye(4)))
    assert without[:8].max() > 0


def test_slices_keep_their_proportions() -> None:
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    assert result_picture(np.zeros((1, 10, 10, 4)), np.zeros((10, 10, 4), dtype=int), [], affine).size == (10, 20)
