"""Angles between directions in space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["angle_degrees"]


def angle_degrees(
    first: Sequence[float] | npt.NDArray[np.float64], second: Sequence[float] | npt.NDArray[np.float64]
) -> float:
    """Angle between two vectors, 0 to 180."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    # The arc cosine alone is blind to small angles.
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))
