"""Where level 0 ran in windows: how much weight its answer carries at every voxel when more windows join the average.

Letters in shapes: ``N`` windows, ``D`` spatial axes, ``*roi`` window size, ``*region`` the part of the grid at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from monai_dis.inferers.merge import window_parts

__all__ = ["Footprint"]


@dataclass(frozen=True)
class Footprint:
    """The windows of a dense level, without their logits.

    Args:
        corners: (N, D) first voxel of each window on the level's grid, the same for all images.
        importance: (*roi) weight of each voxel of a window.
    """

    corners: np.ndarray
    importance: Tensor

    def weight(self, start: Sequence[int], like: Tensor) -> Tensor:
        """Summed weight of the windows on a region.

        Args:
            start: first voxel of the region on the level's grid.
            like: (B, C, *region), gives size, type and device.

        Returns:
            (1, 1, *region), positive wherever a window lies.
        """
        roi = np.asarray(self.importance.shape)
        stop = np.asarray(start) + np.asarray(like.shape[2:])
        total = like.new_zeros((1, 1, *like.shape[2:]))
        importance = self.importance.to(device=like.device, dtype=like.dtype)
        for k in np.flatnonzero(((self.corners < stop) & (self.corners + roi > np.asarray(start))).all(axis=1)):
            parts = window_parts(self.corners[k].tolist(), self.importance.shape, start, stop.tolist())
            assert parts is not None
            total[0, 0][parts[0]] += importance[parts[1]]
        return total
