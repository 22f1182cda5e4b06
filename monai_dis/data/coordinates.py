"""Directions and coordinates in space.

Patients are measured in two systems: RAS, of NIfTI and MONAI, and LPS, of DICOM and ITK. Their first two axes point opposite ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["angle_degrees", "is_sheared", "swap_ras_lps"]

_RIGHT_ANGLE_DEGREES = 0.01


def swap_ras_lps(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine of a grid in LPS for the one in RAS, and the reverse.

    Args:
        affine: (4, 4) from voxels to mm; (3, 3) of a picture in its plane.
    """
    swapped: npt.NDArray[np.float64] = np.diag([-1.0, -1.0, *[1.0] * (len(affine) - 2)]) @ affine
    return swapped


def angle_degrees(
    first: Sequence[float] | npt.NDArray[np.float64], second: Sequence[float] | npt.NDArray[np.float64]
) -> float:
    """Angle between two vectors, 0 to 180."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    # The arc cosine alone is blind to small angles.
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def is_sheared(affine: npt.NDArray[np.float64]) -> bool:
    """Whether two axes of a grid are not at a right angle.

    Args:
        affine: (4, 4) from voxels to mm.
    """
    axes = affine[:3, :3]
    return any(
        abs(90 - angle_degrees(axes[:, a], axes[:, b])) > _RIGHT_ANGLE_DEGREES for a, b in ((0, 1), (0, 2), (1, 2))
    )
