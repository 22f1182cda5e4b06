"""Refined windows on the original image: from the prepared image over world positions to the voxels of the file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray

__all__ = ["Box", "boxes_of"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A window on the voxel grid of the file.

    Attributes:
        level: 1 for the coarsest level that has windows.
        corners: (2 ** D, D) voxel coordinates, where voxel ``i`` covers ``i - 0.5`` to ``i + 0.5``; last axis varies fastest.
    """

    level: int
    corners: FloatArray

    @property
    def low(self) -> FloatArray:
        """Smallest coordinate per axis."""
        low: FloatArray = self.corners.min(axis=0)
        return low

    @property
    def high(self) -> FloatArray:
        """Largest coordinate per axis."""
        high: FloatArray = self.corners.max(axis=0)
        return high


def boxes_of(windows: Sequence[Mapping[str, Any]], prepared: MetaTensor, original: MetaTensor) -> list[Box]:
    """Carry windows over to the original image.

    Args:
        windows: each with ``level``, ``corner`` and ``size`` in voxels of the prepared image.
        prepared: (C, *spatial) image that the inferer saw.
        original: (C, *spatial) image as it was read.

    Returns:
        One box per window; parts outside the image are cut off.
    """
    dims = prepared.ndim - 1
    move = np.linalg.inv(_matrix(original, dims)) @ _matrix(prepared, dims)
    limit = np.asarray(original.shape[1:], dtype=np.float64) - 0.5
    boxes = []
    for window in windows:
        corner, extent = np.asarray(window["corner"], dtype=np.float64), np.asarray(window["size"], dtype=np.float64)
        sides = np.asarray(list(itertools.product((0, 1), repeat=dims)), dtype=np.float64)
        points = corner + sides * extent - 0.5
        moved = points @ move[:dims, :dims].T + move[:dims, dims]
        boxes.append(Box(int(window["level"]), np.clip(moved, -0.5, limit)))
    return boxes


def _matrix(image: MetaTensor, dims: int) -> FloatArray:
    return np.asarray(to_affine_nd(dims, np.asarray(image.affine.cpu(), dtype=np.float64)), dtype=np.float64)
