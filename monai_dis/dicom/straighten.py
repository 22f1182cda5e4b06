"""A tilted stack on a right grid for the network, and the network's labels back on the original slices (I3).

The slices of a tilted stack are shifted against each other in their own planes, so that a right grid with the same planes needs
no interpolation between slices: each slice moves within its plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_dis.dicom.geometry import Vector

__all__ = ["Straightening", "bend_back", "plan_straightening", "straighten"]


@dataclass(frozen=True)
class Straightening:
    """How slices move.

    Attributes:
        source_shape: columns, rows, slices of the tilted stack.
        shape: of the right grid.
        offsets: (slices, 2) columns and rows from the right grid's first pixel to that of each slice, not negative.
        affine_lps: (4, 4) of the right grid.
    """

    source_shape: tuple[int, int, int]
    shape: tuple[int, int, int]
    offsets: Vector = field(repr=False)
    affine_lps: Vector = field(repr=False)


def plan_straightening(affine_lps: Vector, shape: tuple[int, int, int]) -> Straightening:
    """Find the right grid with the planes of a sheared one.

    Args:
        affine_lps: (4, 4) from (column, row, slice) to mm; columns and rows are at right angles.
        shape: columns, rows, slices.

    Returns:
        the grid, just large enough to hold every slice.
    """
    columns, rows, step = affine_lps[:3, :3].T
    normal = np.cross(columns, rows)
    normal /= np.linalg.norm(normal)
    along = (step @ normal) * normal
    drift = np.array([(step - along) @ columns / (columns @ columns), (step - along) @ rows / (rows @ rows)])
    # Rounded, since an edge pixel that lies outside by floating point alone would be lost.
    offsets = np.round(np.outer(np.arange(shape[2]), drift), 6)
    first = offsets.min(axis=0)
    extra = [math.ceil(value) for value in np.round(offsets.max(axis=0) - first, 6)]
    affine = affine_lps.copy()
    affine[:3, 2] = along
    affine[:3, 3] += first[0] * columns + first[1] * rows
    right = (shape[0] + extra[0], shape[1] + extra[1], shape[2])
    return Straightening(shape, right, np.round(offsets - first, 6), affine)


def straighten(volume: npt.NDArray[np.float32], plan: Straightening) -> npt.NDArray[np.float32]:
    """Move the slices of a volume (columns, rows, slices), linearly between pixels; outside is the smallest value."""
    right = np.full(plan.shape, volume.min(), dtype=np.float32)
    for index, offset in enumerate(plan.offsets):
        right[:, :, index] = ndimage.affine_transform(
            volume[:, :, index],
            np.ones(2),
            offset=-offset,
            output_shape=plan.shape[:2],
            order=1,
            mode="constant",
            cval=float(right[0, 0, index]),
        )
    return right


def bend_back(labels: npt.NDArray[Any], plan: Straightening) -> npt.NDArray[Any]:
    """Labels (..., columns, rows, slices) of the right grid on the original slices: the nearest pixel's."""
    columns, rows, _ = plan.source_shape
    back = np.empty((*labels.shape[:-3], *plan.source_shape), dtype=labels.dtype)
    for index, offset in enumerate(plan.offsets):
        first, second = (np.floor(offset + 0.5)).astype(int)
        back[..., index] = labels[..., first : first + columns, second : second + rows, index]
    return back
