"""What a refine network is given: windows of the image, and of the answer of the level below.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``K`` windows, ``D`` spatial axes, ``*read`` size of
what the network is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_dis.inferers.gather import WindowSource, gather_windows, pad_image
from monai_dis.inferers.grid import resample
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.plan import Settings, SparsePlan
from monai_dis.inferers.tiles import ROUND
from monai_dis.inferers.window_resampling import resample_windows

__all__ = ["BelowReader", "ImageReader", "read_below"]

# Logits of a level between that may be held while the next one runs.
_MOST = 1 << 24


class ImageReader:
    """Windows of an image on a level's grid.

    The image is brought to that grid as a whole only where its windows ask for that much.

    Args:
        image: (B, Ci, *spatial) at full resolution.
        plan: the level.
        settings: of the run.
        count: how many windows will be read.
        on_grid: (B, Ci, *grid) the image on the level's grid, or what reads its windows, where somebody has it already; of ``image``
            then only the number of channels, type and device count.
    """

    def __init__(
        self,
        image: Tensor,
        plan: SparsePlan,
        settings: Settings,
        count: int,
        on_grid: Tensor | WindowSource | None = None,
    ) -> None:
        grid = plan.windows.grid
        self._image, self._plan, self._settings = image, plan, settings
        self._before = [p[0] + h for p, h in zip(plan.windows.padding, plan.halo, strict=True)]
        self._after = [p[1] + h for p, h in zip(plan.windows.padding, plan.halo, strict=True)]
        inside = not any(self._before) and not any(self._after)
        few = count * math.prod(plan.read_size) < len(image) * math.prod(grid)
        self._apart = on_grid is None and inside and few and tuple(image.shape[2:]) != grid
        self.on_grid: Tensor | WindowSource | None = on_grid
        if not self._apart and on_grid is None:
            self.on_grid = resample(image, grid)

    @property
    def device(self) -> torch.device:
        """Where the image lies."""
        return self._image.device

    @property
    def numbers_per_window(self) -> int:
        """How many numbers are read for a window."""
        read = math.prod(self._plan.read_size) * self._image.shape[1]
        if not self._apart:
            return read
        return read * math.prod(self._image.shape[2:]) // math.prod(self._plan.windows.grid)

    @cached_property
    def _padded(self) -> Tensor | WindowSource:
        assert self.on_grid is not None
        settings = self._settings
        return pad_image(self.on_grid, self._before, self._after, mode=settings.padding_mode, cval=settings.cval)

    def corners(self, corners: np.ndarray) -> np.ndarray:
        """First voxels (K, D) of what is read, halos included, in the padded image."""
        return corners + (np.asarray(self._before, dtype=np.int64) - np.asarray(self._plan.halo, dtype=np.int64))

    def read(self, images: np.ndarray, corners: np.ndarray) -> Tensor:
        """Windows (K, Ci, *read), for the indices (K,) and corners (K, D) of their inner parts."""
        plan = self._plan
        if self._apart:
            return resample_windows(self._image, plan.windows.grid, images, corners, plan.read_size)
        where = torch.from_numpy(self.corners(corners))
        return gather_windows(self._padded, torch.from_numpy(images), where, plan.read_size)


class BelowReader:
    """Windows of the answer of the level below, on the level's grid; beyond the image the edge is repeated.

    Args:
        mosaic: the answer so far.
        plan: the level.
        count: how many windows will be read.
    """

    def __init__(self, mosaic: Mosaic, plan: SparsePlan, count: int) -> None:
        self._mosaic, self._plan = mosaic, plan
        below = mosaic.grid_size(plan.index - 1)
        one = math.prod(plan.read_size) * math.prod(below) / math.prod(plan.windows.grid)
        ground = mosaic.images * math.prod(below)
        whole = ground <= count * (one + ROUND) and ground * mosaic.channels <= _MOST
        # Level 0 is there as a whole.
        self._whole = mosaic.grid(plan.index - 1) if mosaic.in_memory and (plan.index == 1 or whole) else None

    def read(self, images: np.ndarray, corners: np.ndarray) -> Tensor:
        """Logits (K, C, *read), for the indices (K,) and corners (K, D) of the windows' inner parts."""
        plan = self._plan
        first = corners - np.asarray(plan.halo)
        if self._whole is not None:
            return resample_windows(self._whole, plan.windows.grid, images, first, plan.read_size)
        level, grid = plan.index - 1, plan.windows.grid
        parts = [
            read_below(self._mosaic, grid, level, corner, plan.read_size, image=image)
            for image, corner in zip(images.tolist(), first.tolist(), strict=True)
        ]
        return torch.cat(parts)


def read_below(
    mosaic: Mosaic, grid: Sequence[int], level: int, first: Sequence[int], size: Sequence[int], *, image: int = 0
) -> Tensor:
    """Logits of a level on a window of any grid; beyond the image the edge is repeated.

    Args:
        mosaic: the answer so far.
        grid: spatial size of the grid.
        level: the last level that counts.
        first: first voxel of the window; may lie outside.
        size: of the window.
        image: index in the batch.

    Returns:
        (1, C, *size).
    """
    region, pad = [], []
    for start, extent, n in zip(first, size, grid, strict=True):
        low, high = min(max(start, 0), n - 1), max(min(start + extent, n), 1)
        region.append(slice(low, high))
        pad.append((low - start, start + extent - high))
    part = mosaic.on(grid, level, tuple(region), image=image)
    amounts = [n for pair in reversed(pad) for n in pair]
    return F.pad(part, amounts, mode="replicate") if any(amounts) else part
