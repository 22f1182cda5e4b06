"""Where windows may lie on a grid: the positions of MONAI's sliding window, frozen before anything runs.

Letters in shapes: ``N`` candidate windows, ``D`` spatial axes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from monai.data.utils import dense_patch_slices

from monai_dis.errors import LevelError
from monai_dis.inferers.grid import per_axis

__all__ = ["WindowGrid", "full_roi", "window_grid"]


@dataclass(frozen=True)
class WindowGrid:
    """All candidate windows of a level: a product of start positions per axis.

    Positions count from the first voxel of the level's grid. Where the grid is smaller than the window the image is
    padded by half on each side, as MONAI does, and the only start of that axis is negative.

    Args:
        grid: spatial size of the level's grid in voxels.
        roi: window size in voxels.
        starts: start positions per axis, ascending.
    """

    grid: tuple[int, ...]
    roi: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of candidates per axis."""
        return tuple(len(s) for s in self.starts)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Voxels added before and after each axis so that one window fits."""
        missing = [max(r - g, 0) for r, g in zip(self.roi, self.grid, strict=True)]
        return tuple((m // 2, m - m // 2) for m in missing)

    @cached_property
    def corners(self) -> np.ndarray:
        """(N, D) int64 corners of all candidates, in the order of MONAI's sliding window (last axis fastest)."""
        mesh = np.meshgrid(*[np.asarray(s, dtype=np.int64) for s in self.starts], indexing="ij")
        return np.stack([m.reshape(-1) for m in mesh], axis=1)

    @property
    def share(self) -> float:
        """Share of the image's area that one window takes, 1 at most."""
        return math.prod(min(r, g) / g for r, g in zip(self.roi, self.grid, strict=True))


def full_roi(roi_size: Sequence[int | None] | int, grid: Sequence[int]) -> tuple[int, ...]:
    """A window size for every axis; entries that are None, zero or negative take the whole axis, as in MONAI.

    Raises:
        LevelError: when the number of entries is not the number of axes.
    """
    sizes = per_axis(roi_size, len(grid))
    if len(sizes) != len(grid):
        raise LevelError(f"roi_size {sizes} has {len(sizes)} entries, the image has {len(grid)} spatial axes.")
    return tuple(int(g) if r is None or r <= 0 else int(r) for r, g in zip(sizes, grid, strict=True))


def window_grid(
    grid: Sequence[int], roi_size: Sequence[int | None] | int, overlap: float | Sequence[float]
) -> WindowGrid:
    """The candidate windows of a grid, at the positions where ``monai.inferers.sliding_window_inference`` has its own.

    Args:
        grid: spatial size of the level's grid.
        roi_size: window size; see `full_roi`.
        overlap: share of a window that its neighbour covers, in [0, 1), one number or one per axis. 0 is the
            poster's contiguous grid; a large overlap gives the selection a fine choice.

    Raises:
        LevelError: when the number of entries does not fit the grid.

    Example:
        >>> window_grid((10, 4), (4, 4), 0.5).starts
        ((0, 2, 4, 6), (0,))
    """
    roi = full_roi(roi_size, grid)
    shares = per_axis(overlap, len(roi))
    if len(shares) != len(roi):
        raise LevelError(f"overlap {shares} has {len(shares)} entries, the image has {len(roi)} spatial axes.")
    starts = []
    for n, r, share in zip(grid, roi, shares, strict=True):
        padded = max(n, r)
        interval = r if padded == r else max(1, int(r * (1 - share)))
        before = (padded - n) // 2
        slices = dense_patch_slices((padded,), (r,), (interval,))
        starts.append(tuple(int(s[0].start) - before for s in slices))
    return WindowGrid(grid=tuple(int(n) for n in grid), roi=roi, starts=tuple(starts))
