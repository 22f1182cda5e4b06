"""Voxel spacing changed axis by axis: what MONAI's ``Spacing`` computes, in a fraction of its memory and time.

MONAI writes down the position of every voxel of the new grid, in numbers of 64 bits, before it samples: seventy bytes a voxel, more than
all else that a segmentation of a large volume needs. Where axes stay axes, as a change of spacing leaves them, a position is one number
for each row of each axis, and an image is sampled by one axis after the other.

Letters in shapes: ``C`` channels, ``T`` taps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import AFFINE_TOL, to_affine_nd
from monai.transforms import Spacingd, SpatialResample
from monai.utils import TraceKeys
from monai.utils.type_conversion import get_torch_dtype_from_string
from torch import Tensor

from monai_dis.inferers.grid import slabs, weighted_sum

__all__ = ["AxisResample", "AxisSpacingd"]

Taps = list[tuple[np.ndarray, np.ndarray]]
"""By axis, which rows of the input make up a row of the output, (rows, T), and their weights, (rows, T)."""


class AxisResample(SpatialResample):
    """`monai.transforms.SpatialResample` for grids whose axes are parallel; others are left to MONAI.

    Values are those of MONAI's up to rounding, computed in float32. Labels that are sampled by their nearest voxel keep their type.
    """

    def __call__(  # type: ignore[override]
        self, img: Tensor, dst_affine: Tensor | None = None, spatial_size: Any = None, **options: Any
    ) -> Tensor:
        """Sample an image, (C, *spatial), on another grid; arguments as for MONAI's."""
        names = ("mode", "padding_mode", "align_corners", "lazy")
        asked = [getattr(self, name) if options.get(name) is None else options[name] for name in names]
        # plain words, where MONAI has members of an enumeration
        mode, padding, align_corners, lazy = (getattr(value, "value", value) for value in asked)
        parallel = _parallel(img, dst_affine, spatial_size)
        if lazy or align_corners or parallel is None or mode not in _TAPS or padding != "border":
            return super().__call__(img, dst_affine, spatial_size, **options)
        assert isinstance(img, MetaTensor)
        matrix, size = parallel
        steps, starts = np.diag(matrix)[:-1], matrix[:-1, -1]
        taps = [_TAPS[mode](*row) for row in zip(steps, starts, img.shape[1:], size, strict=True)]
        values = _sampled(img.as_tensor(), taps, size)
        info = {"dtype": "float32", "mode": mode, "padding_mode": padding, "align_corners": TraceKeys.NONE}
        meta = self.track_transform_meta(
            img,
            sp_size=torch.tensor(size),
            affine=torch.from_numpy(matrix),
            extra_info={**info, "src_affine": to_affine_nd(len(size), img.affine).to(torch.float64)},
            orig_size=img.shape[1:],
            transform_info=self.get_transform_info(),
            lazy=False,
        )
        out = MetaTensor(values)
        out.copy_meta_from(meta)  # type: ignore[no-untyped-call]
        return out

    def inverse(self, data: Tensor) -> Tensor:
        """Back to the grid that an image was sampled from."""
        done = self.pop_transform(data)
        given = done[TraceKeys.EXTRA_INFO]
        with self.trace_transform(False):
            return self(
                data,
                given["src_affine"],
                done[TraceKeys.ORIG_SIZE],
                mode=given["mode"],
                padding_mode=given["padding_mode"],
                align_corners=False if given["align_corners"] == TraceKeys.NONE else given["align_corners"],
                dtype=get_torch_dtype_from_string(given["dtype"]),
            )


class AxisSpacingd(Spacingd):
    """`monai.transforms.Spacingd`, sampling by `AxisResample`; same arguments, same grids, same inverse.

    Example:
        >>> image = MetaTensor(torch.arange(8.0).reshape(1, 8, 1, 1), affine=torch.eye(4))
        >>> AxisSpacingd("image", (2.0, 1.0, 1.0))({"image": image})["image"].flatten().tolist()
        [0.0, 2.0, 4.0, 6.0]
    """

    def __init__(self, keys: KeysCollection, pixdim: Any, **options: Any) -> None:
        super().__init__(keys, pixdim, **options)
        own = self.spacing_transform.sp_resample
        self.spacing_transform.sp_resample = AxisResample(
            mode=own.mode,
            padding_mode=own.padding_mode,
            align_corners=own.align_corners,
            dtype=own.dtype,
            lazy=own.lazy,
        )


def _parallel(img: Tensor, dst_affine: Tensor | None, spatial_size: Any) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Matrix from voxels of the new grid to those of the old one, and the new size; None unless it only scales and shifts."""
    if not isinstance(img, MetaTensor) or img.pending_operations or dst_affine is None or spatial_size is None:
        return None
    rank, size = img.ndim - 1, tuple(int(n) for n in np.atleast_1d(np.asarray(spatial_size)))
    if len(size) != rank or any(n < 1 for n in size) or rank > 3:
        return None
    old, new = (to_affine_nd(rank, np.asarray(torch.as_tensor(a), dtype=np.float64)) for a in (img.affine, dst_affine))
    try:
        matrix = np.linalg.solve(old, new)
    except np.linalg.LinAlgError:
        return None  # MONAI says what is wrong with it
    square, off = matrix[:-1, :-1], matrix[:-1, :-1] - np.diag(np.diag(matrix)[:-1])
    # What lies beside the diagonal must not move the farthest voxel by as much as rounding shows.
    if np.abs(off).sum(axis=1).max() * max(size) > AFFINE_TOL or np.diag(square).min() <= 0:
        return None
    unchanged = size == tuple(img.shape[1:]) and np.allclose(matrix, np.eye(rank + 1), atol=AFFINE_TOL)
    return None if unchanged else (matrix, size)


def _linear(step: float, start: float, size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.clip(step * np.arange(size_out) + start, 0, size_in - 1)
    low = np.minimum(np.floor(at).astype(np.int64), max(size_in - 2, 0))
    upper = at - low
    index = np.stack([low, np.minimum(low + 1, size_in - 1)], axis=1)
    return index, np.stack([1 - upper, upper], axis=1)


def _nearest(step: float, start: float, size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.clip(np.rint(step * np.arange(size_out) + start), 0, size_in - 1)
    return at.astype(np.int64)[:, None], np.ones((size_out, 1))


_TAPS = {"bilinear": _linear, "nearest": _nearest}


def _sampled(image: Tensor, taps: Taps, size: tuple[int, ...]) -> Tensor:
    """The rows of one axis after the other, in slabs of the new grid, so that what lies between two axes stays small."""
    picked = all(index.shape[1] == 1 for index, _ in taps)
    image = image if picked or image.dtype == torch.float32 else image.float()
    out = image.new_empty((len(image), *size))
    shrinking_first = sorted(range(len(size)), key=lambda axis: size[axis] / image.shape[axis + 1])
    wide = math.ceil(math.prod(image.shape[2:]) / math.prod(size[1:]))
    for part in slabs(size, len(image) * max(1, wide)):
        index, weight = taps[0][0][part[0]], taps[0][1][part[0]]
        low = int(index.min())
        values = image.narrow(1, low, int(index.max()) - low + 1)
        own = [(index - low, weight), *taps[1:]]
        for axis in shrinking_first:
            rows, weights = own[axis]
            if picked:
                values = values.index_select(axis + 1, torch.as_tensor(rows[:, 0], device=values.device))
            else:
                values = weighted_sum(values, axis + 1, rows, weights)
        out[:, part[0]] = values
    return out
