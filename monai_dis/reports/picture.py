"""From a result on the grid of its file to a picture: a photograph as it is, a volume as its most telling slice.

Letters in shapes: ``C`` channels, ``*spatial`` two or three axes, ``D`` their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_dis.reports.overlay import Outline, draw_overlay

__all__ = ["FloatArray", "Plane", "WindowBox", "colours_of", "display_axes", "plane_of", "result_picture"]

FloatArray = NDArray[np.float64]


class WindowBox(Protocol):
    """A window in voxel coordinates of the file, as `monai_dis.pipeline.window_outlines.Box`."""

    @property
    def level(self) -> int:
        """1 for the coarsest level that has windows."""

    @property
    def corners(self) -> FloatArray:
        """(2 ** D, D) coordinates, last axis fastest."""


def result_picture(
    image: NDArray[np.generic],
    labels: NDArray[np.generic],
    boxes: Sequence[WindowBox],
    affine: FloatArray,
    *,
    class_names: Mapping[int, str] | None = None,
    max_side: int = 1600,
    min_side: int = 0,
) -> Image.Image:
    """Draw a result.

    A photograph is shown as viewers show it; MONAI reads its columns as the first axis. Of a volume the axial slice that
    meets most windows is shown (ties: the one with most foreground), anterior up and the patient's right on the left.

    Args:
        image: (C, *spatial); three channels of 0 to 255 are colours, otherwise the first channel is shown in grey.
        labels: (*spatial) class indices.
        boxes: refined windows.
        affine: (D + 1, D + 1) voxel-to-world matrix, RAS millimetres.
        class_names: names by class index, for the legend.
        max_side: pictures whose longer side has more pixels are shrunk to it.
        min_side: pictures whose longer side has fewer pixels are enlarged to it.

    Returns:
        An RGB picture.
    """
    if labels.ndim == 2:
        outlines = [Outline(box.level, _polygon(box.corners)) for box in boxes]
        return draw_overlay(
            colours_of(image), labels.T, outlines, class_names=class_names, max_side=max_side, min_side=min_side
        )
    return _slice_picture(image, labels, boxes, affine, class_names, max_side, min_side)


def colours_of(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """(C, W, H) to (H, W, 3) of uint8 where it is a colour photograph, else (H, W)."""
    if image.shape[0] >= 3 and image.min() >= 0 and image.max() <= 255:
        return np.ascontiguousarray(image[:3].transpose(2, 1, 0).astype(np.uint8))
    return np.ascontiguousarray(image[0].T)


def _polygon(corners: FloatArray) -> tuple[tuple[float, float], ...]:
    """Corners (first axis = column, last fastest) as a closed walk of (row, column)."""
    return tuple((float(corners[k][1]), float(corners[k][0])) for k in (0, 1, 3, 2))


def _slice_picture(
    image: NDArray[np.generic],
    labels: NDArray[np.generic],
    boxes: Sequence[WindowBox],
    affine: FloatArray,
    class_names: Mapping[int, str] | None,
    max_side: int,
    min_side: int,
) -> Image.Image:
    slice_axis = display_axes(affine)[2]
    bounds = [(box.level, box.corners.min(axis=0), box.corners.max(axis=0)) for box in boxes]
    index = _telling_slice(labels, [(low[slice_axis], high[slice_axis]) for _, low, high in bounds], slice_axis)
    plane = plane_of(affine, labels.shape, index)
    outlines = [
        Outline(level, plane.polygon(low, high))
        for level, low, high in bounds
        if low[slice_axis] <= index <= high[slice_axis]
    ]
    return draw_overlay(
        plane.cut(image[0]),
        plane.cut(labels),
        outlines,
        class_names=class_names,
        pixel_aspect=plane.pixel_aspect,
        max_side=max_side,
        min_side=min_side,
    )


def display_axes(affine: FloatArray) -> tuple[int, int, int]:
    """Array axes nearest to left-right, front-back and foot-head."""
    world = affine[:3, :3]
    directions = world / np.maximum(np.linalg.norm(world, axis=0), 1e-6)
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(directions[k, axis]) for k, axis in enumerate(order)),
    )
    return best[0], best[1], best[2]


def plane_of(affine: FloatArray, shape: Sequence[int], index: int) -> Plane:
    """The axial slice of a number, anterior up and the patient's right on the left.

    Args:
        affine: (4, 4) voxel-to-world matrix, RAS millimetres.
        shape: of the volume.
        index: slice along the axis nearest to foot-head.
    """
    column_axis, row_axis, slice_axis = display_axes(affine)
    world = affine[:3, :3]
    flips = {axis: bool(world[world_axis, axis] > 0) for world_axis, axis in enumerate((column_axis, row_axis))}
    spacing = np.maximum(np.linalg.norm(world, axis=0), 1e-6)
    aspect = float(spacing[row_axis] / spacing[column_axis])
    return Plane(column_axis, row_axis, slice_axis, index, flips, shape, aspect)


def _telling_slice(labels: NDArray[np.generic], spans: Sequence[tuple[float, float]], axis: int) -> int:
    positions = np.arange(labels.shape[axis])
    hits = np.zeros(len(positions), dtype=np.int64)
    for low, high in spans:
        hits += (positions >= low) & (positions <= high)
    others = tuple(a for a in range(labels.ndim) if a != axis)
    foreground = np.count_nonzero(labels, axis=others)
    order = np.lexsort((np.abs(positions - (len(positions) - 1) / 2), -foreground, -hits))
    return int(order[0])


class Plane:
    """One slice of a volume in display orientation."""

    def __init__(
        self,
        column_axis: int,
        row_axis: int,
        slice_axis: int,
        index: int,
        flips: Mapping[int, bool],
        shape: Sequence[int],
        pixel_aspect: float,
    ) -> None:
        self.pixel_aspect = pixel_aspect
        self.column_axis, self.row_axis, self.slice_axis, self.index = column_axis, row_axis, slice_axis, index
        self.flips, self.shape = flips, shape

    def cut(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """(*spatial) volume to (rows, columns)."""
        plane = np.moveaxis(volume, (self.row_axis, self.column_axis, self.slice_axis), (0, 1, 2))[..., self.index]
        if self.flips[self.row_axis]:
            plane = plane[::-1]
        if self.flips[self.column_axis]:
            plane = plane[:, ::-1]
        return np.ascontiguousarray(plane)

    def polygon(self, low: FloatArray, high: FloatArray) -> tuple[tuple[float, float], ...]:
        """Box to the rectangle that it cuts out of the plane, as (row, column)."""
        rows, columns = (self._ends(axis, low, high) for axis in (self.row_axis, self.column_axis))
        return (rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])

    def _ends(self, axis: int, low: FloatArray, high: FloatArray) -> tuple[float, float]:
        last = self.shape[axis] - 1
        return (
            (float(last - low[axis]), float(last - high[axis]))
            if self.flips[axis]
            else (float(low[axis]), float(high[axis]))
        )
