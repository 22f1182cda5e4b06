"""Read one window of an image through an affine map. Letters in shapes: ``C`` channels, ``n`` spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["sample_affine"]


def sample_affine(
    x: Tensor,
    matrix: np.ndarray,
    centre: np.ndarray,
    size: Sequence[int],
    padding_mode: str,
    classes: Sequence[int] | None = None,
) -> Tensor:
    """Read a window of ``size`` from ``x`` linearly; of a large image only the part under the window is touched.

    Args:
        x: tensor ``(C, *spatial)`` of any type.
        matrix: ``(n, n)``, from window coordinates in [-1, 1] to coordinates in [-1, 1] of the field of view, in the
            order of the axes.
        centre: centre of the window in units of the field of view, [0, 1] per axis.
        size: spatial size of the result.
        padding_mode: as ``torch.nn.functional.grid_sample``.
        classes: read a mask of each of these class indices, of which ``x`` ``(1, *spatial)`` is made, instead of ``x`` itself.

    Returns:
        tensor ``(C, *size)`` of float32; ``C`` is the number of classes where they are given.
    """
    shift = 2.0 * centre - 1.0
    # Reflection may read far from the window; the other modes read no further than the image's border.
    if padding_mode != "reflection":
        x, matrix, shift = _crop(x, matrix, shift)
    if classes is not None:
        x = torch.stack([x[0] == index for index in classes])  # of the part under the window alone
    theta = np.concatenate([matrix, shift[:, None]], axis=1)
    n = len(size)
    # grid_sample counts axes from the last one: reverse rows, and the columns of the linear part.
    theta = np.concatenate([theta[::-1, :n][:, ::-1], theta[::-1, n:]], axis=1)
    grid = F.affine_grid(torch.as_tensor(theta.copy(), dtype=torch.float32)[None], [1, 1, *size], align_corners=False)
    # Of the masks of overlapping classes most are empty under a window: they stay so, at no cost.
    seen = x.flatten(1).any(1).bool()
    out = torch.zeros((len(x), *size))
    out[seen] = F.grid_sample(
        x[seen][None].float(), grid, mode="bilinear", padding_mode=padding_mode, align_corners=False
    )[0]
    return out


def _crop(x: Tensor, matrix: np.ndarray, shift: np.ndarray) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """The part of the image that a window can touch, and the map that reads it there."""
    full = np.asarray(x.shape[1:], dtype=float)
    reach = np.abs(matrix).sum(axis=1)
    # From [-1, 1] to voxels, with two voxels around for the neighbours that linear reading takes.
    low = np.clip(np.floor((shift - reach + 1) * full / 2) - 2, 0, full - 1).astype(int)
    high = np.clip(np.ceil((shift + reach + 1) * full / 2) + 2, low + 1, full).astype(int)
    where = (slice(None), *[slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)])
    part, size = x[where], high - low
    scale = full / size
    return part, np.diag(scale) @ matrix, (shift + 1) * scale - 2 * low / size - 1
