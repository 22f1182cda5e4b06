"""Whether a volume is large enough for a network, by its header alone: a network that leaves a single voxel of it can normalise nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monai_dis.checks.findings import Finding, finding

__all__ = ["check_extent"]

_ROUNDING = 1e-3  # mm


def check_extent(
    shape: Sequence[int], affine: npt.NDArray[np.float64], smallest_mm: float | None, count: int = 1
) -> list[Finding]:
    """What is to be said of a volume that is shorter on each side than the bundle's network needs on one.

    Args:
        shape: voxels along three axes.
        affine: (4, 4) from voxels to mm.
        smallest_mm: what the bundle's metadata say, between the middles of the first and the last voxel; None where they say nothing.
        count: files that the volume is made of.

    Example:
        >>> check_extent((30, 8, 8), np.diag([0.5, 0.5, 0.5, 1]), 20.0)[0].code
        'IMAGE_TOO_SMALL'
        >>> check_extent((42, 8, 8), np.diag([0.5, 0.5, 0.5, 1]), 20.0)
        []
    """
    if smallest_mm is None:
        return []
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sides = [(n - 1) * float(step) for n, step in zip(shape, spacing, strict=True)]
    if max(sides) >= smallest_mm - _ROUNDING:
        return []
    size = " x ".join(f"{side:.3g}" for side in sides)
    message = f"the volume has {size} mm, and the bundle's network needs {smallest_mm:g} mm on one side at least; choose a larger image."
    return [finding("IMAGE_TOO_SMALL", message, count)]
