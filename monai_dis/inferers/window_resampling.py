"""Windows of a resampled image or of logits on another grid, without the rest of it.

Letters in shapes: ``B`` batch, ``C`` channels, ``K`` windows, ``D`` spatial axes, ``*roi`` window size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_dis.inferers.gather import gather_windows
from monai_dis.inferers.grid import axis_taps, resample_part

__all__ = ["resample_windows"]


def resample_windows(
    x: Tensor, size: Sequence[int], images: np.ndarray, corners: np.ndarray, roi: Sequence[int]
) -> Tensor:
    """Read windows from `monai_dis.inferers.grid.resample` of a batch, of which only they are computed.

    Windows that lie alike on the voxels that they are made of (at whole-number scales nearly all) are computed together.

    Args:
        x: (B, C, *spatial).
        size: spatial size of the resampled grid.
        images: (K,) which image each window is read from.
        corners: (K, D) first voxel of each window on that grid; where a window reaches beyond it the edge is repeated.
        roi: window size.

    Returns:
        (K, C, *roi), with the bits of the whole.
    """
    source = tuple(x.shape[2:])
    looks = [
        [_look(a, b, c, r) for a, b, c, r in zip(source, size, corner, roi, strict=True)] for corner in corners.tolist()
    ]
    alike: dict[tuple[tuple[object, ...], ...], list[int]] = {}
    for k, look in enumerate(looks):
        alike.setdefault(tuple(axis.pattern for axis in look), []).append(k)
    out = x.new_empty((len(corners), x.shape[1], *roi))
    for members in alike.values():
        first = looks[members[0]]
        low = torch.tensor([[axis.low for axis in looks[k]] for k in members])
        block = gather_windows(x, torch.from_numpy(images[members]), low, [axis.extent for axis in first])
        region = [slice(axis.start, axis.stop) for axis in first]
        made = resample_part(block, [axis.low for axis in first], source, size, region)
        beyond = [n for axis in reversed(first) for n in (axis.before, axis.after)]
        made = F.pad(made, beyond, mode="replicate") if any(beyond) else made
        if len(members) == len(corners):
            return made
        out[torch.tensor(members, device=out.device)] = made
    return out


class _Look:
    """How a window lies along one axis.

    Args:
        n_in: voxels that are read from.
        n_out: voxels of the grid.
        corner: first voxel of the window.
        extent: its size.
    """

    def __init__(self, n_in: int, n_out: int, corner: int, extent: int) -> None:
        self.start, self.stop = min(max(corner, 0), n_out - 1), max(min(corner + extent, n_out), 1)
        self.before, self.after = self.start - corner, corner + extent - self.stop
        index, weight = (t[self.start : self.stop] for t in axis_taps(n_in, n_out))
        self.low = int(index.min())
        self.extent = int(index.max()) + 1 - self.low
        relative = index - self.low
        # Windows with the same taps and weights differ in where they are read alone.
        self.pattern = (self.before, self.after, relative.numpy().tobytes(), weight.numpy().tobytes())


_look = lru_cache(maxsize=4096)(_Look)
