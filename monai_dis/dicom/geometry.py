"""Where planes lie in space, computed from positions and orientations alone (PS3.3 C.7.6.2).

Coordinates are patient coordinates (LPS) in mm. Indices are (column, row, slice), from 0 at the centre of the first pixel.

When two planes are alike is decided here alone: what the checks take for one orientation is one orientation for whoever writes a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monai_dis.data.coordinates import angle_degrees
from monai_dis.dicom.frames import Frame
from monai_dis.dicom.values import text

__all__ = [
    "ANGLE_TOLERANCE_DEGREES",
    "Stack",
    "alike",
    "affine_of",
    "normal_of",
    "places_of",
    "positions_along",
    "size_of",
    "stack_of",
    "step_tolerance_mm",
]

Vector = npt.NDArray[np.float64]

#: Directions that differ by less are the same: 0.9 mm at the border of a field of view of 50 cm.
ANGLE_TOLERANCE_DEGREES = 0.1
_SPACING_TOLERANCE = 1e-4  # of the distance of pixels: 0.05 mm over 512 of 1 mm
_RELATIVE_TOLERANCE = 0.01
_ABSOLUTE_TOLERANCE_MM = 0.01
_MOST_PLANES = 100_000  # the gap of a hostile file may be of any length
_FLOATING_SLACK_MM = 1e-6  # positions of two decimals differ by 0.01 mm up to floating point


@dataclass(frozen=True)
class Stack:
    """Parallel planes in order along their normal.

    Attributes:
        frames: in that order.
        distances_mm: along the normal, from the origin of the patient coordinates.
        steps_mm: from one to the next.
        median_mm: of the steps; 0 for a single plane.
    """

    frames: tuple[Frame, ...]
    distances_mm: Vector
    steps_mm: Vector
    median_mm: float


def normal_of(frame: Frame) -> Vector:
    """Unit normal of a plane: row direction x column direction."""
    normal = np.cross(frame.row, frame.column)
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def alike(one: Frame, other: Frame) -> bool:
    """Whether two planes have one orientation, one distance of pixels and one size, within the tolerances of this module."""
    turned = angle_degrees(one.row, other.row) > ANGLE_TOLERANCE_DEGREES
    tipped = angle_degrees(normal_of(one), normal_of(other)) > ANGLE_TOLERANCE_DEGREES
    spaced = bool(np.allclose(one.spacing, other.spacing, rtol=_SPACING_TOLERANCE))
    return spaced and not turned and not tipped and size_of(one) == size_of(other)


def size_of(frame: Frame) -> tuple[str, str]:
    """Rows and columns as the header has them."""
    return text(frame.instance.header, "Rows"), text(frame.instance.header, "Columns")


def positions_along(frames: Sequence[Frame], normal: Vector) -> Vector:
    """Distance of each plane along a normal, in mm."""
    return np.asarray([frame.position for frame in frames], dtype=np.float64).reshape(-1, 3) @ normal


def step_tolerance_mm(median_mm: float) -> float:
    """How far a step may be from the median step: 1 %, but 0.01 mm at least."""
    return max(_RELATIVE_TOLERANCE * abs(median_mm), _ABSOLUTE_TOLERANCE_MM) + _FLOATING_SLACK_MM


def stack_of(frames: Sequence[Frame]) -> Stack:
    """Order planes along the normal of the first one."""
    distances = positions_along(frames, normal_of(frames[0]))
    order = np.argsort(distances, kind="stable")
    steps = np.diff(distances[order])
    return Stack(
        tuple(frames[int(index)] for index in order),
        distances[order],
        steps,
        float(np.median(steps)) if len(steps) else 0.0,
    )


def places_of(stack: Stack) -> tuple[int, ...] | None:
    """Number of each plane on an even grid, from 0; with gaps where planes are missing.

    Returns:
        rising numbers, ``0, 1, 2...`` where none is missing; None when steps are no whole multiples of the median.
    """
    if not len(stack.steps_mm):
        return (0,) * len(stack.frames)
    if stack.median_mm <= 0:
        return None
    multiples = np.maximum(np.round(stack.steps_mm / stack.median_mm), 1)
    tolerance = step_tolerance_mm(stack.median_mm) * multiples
    uneven = (np.abs(stack.steps_mm - multiples * stack.median_mm) > tolerance).any()
    if uneven or multiples.sum() > _MOST_PLANES:
        return None
    return (0, *(int(place) for place in np.cumsum(multiples)))


def affine_of(frames: Sequence[Frame], count: int | None = None) -> Vector:
    """Matrix from (column, row, slice) to patient coordinates; a tilted stack's is sheared.

    Args:
        frames: in order, evenly spaced; a single plane is given a step of 1 mm along its normal.
        count: of planes from the first to the last, where some are missing.

    Returns:
        (4, 4) float64; the last step is the mean one, so that rounded positions do not add up.
    """
    first, last = frames[0], frames[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(first.row) * first.spacing[1]
    affine[:3, 1] = np.asarray(first.column) * first.spacing[0]
    if len(frames) > 1:
        affine[:3, 2] = (np.asarray(last.position) - np.asarray(first.position)) / ((count or len(frames)) - 1)
    else:
        affine[:3, 2] = normal_of(first)
    affine[:3, 3] = first.position
    return affine
