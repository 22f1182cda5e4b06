"""Grids of one field of view at several resolutions, and resampling between them.

All grids of an image share its field of view: a grid of ``n`` voxels over an axis of ``S`` voxels has its centres at
``(i + 0.5) * S / n - 0.5`` (``align_corners=False``). Shrinking takes the exact area mean (anti-aliased), enlarging is
linear. Every output value is computed with the same operations in the same order whether it is asked for alone, in a
slab or with the whole grid, so that slabs carry the same bits as the whole.

Letters in shapes: ``B`` batch, ``C`` channels, ``*spatial`` one to three axes, ``T`` taps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.utils import ensure_tuple, issequenceiterable
from torch import Tensor

from monai_dis.errors import LevelError

__all__ = [
    "axis_taps",
    "grid_affine",
    "grid_size",
    "per_axis",
    "resample",
    "resample_part",
    "scale_from_spacing",
    "slabs",
    "source_region",
    "source_rows",
    "spacing_mm_of",
    "spatial",
    "weighted_sum",
]

Region = Sequence[slice]
Field = Sequence[Fraction]

# Numbers in a piece: with the few pieces that a kernel reads and writes, within the cache of one core.
_PIECE = 1 << 18


def per_axis(value: Any, dims: int) -> tuple[Any, ...]:
    """One number (numpy's too) for each of several axes, or the numbers of a sequence as they are."""
    return ensure_tuple(value) if issequenceiterable(value) else (value,) * dims


def grid_size(size: Sequence[int], scale: float | Sequence[float]) -> tuple[int, ...]:
    """Size of the grid at ``1 / scale`` of an image: ``ceil(S / scale)``, never below one voxel.

    Args:
        size: spatial size of the image in voxels.
        scale: one number, or one per axis; 1 is the image's own grid, 8 one voxel for eight.

    Raises:
        LevelError: when the number of scales is not the number of axes, or a scale is below 1.

    Example:
        >>> grid_size((768, 100), 8)
        (96, 13)
    """
    scales = tuple(float(s) for s in per_axis(scale, len(size)))
    if len(scales) != len(size):
        raise LevelError(f"scale {scales} has {len(scales)} entries, the image has {len(size)} spatial axes.")
    if any(not s >= 1.0 or math.isinf(s) for s in scales):
        raise LevelError(f"scale must be a finite number of 1 or more (1 is full resolution), got {scales}.")
    # The small term keeps a scale that came from a division (0.7 / 0.1) from adding a voxel.
    return tuple(max(1, math.ceil(n / s - 1e-6)) for n, s in zip(size, scales, strict=True))


def spacing_mm_of(image: Tensor, spatial_dims: int) -> tuple[float, ...] | None:
    """Voxel spacing of a ``MetaTensor`` in millimetres per spatial axis; None for a plain tensor."""
    if not isinstance(image, MetaTensor):
        return None
    affine = np.asarray(torch.as_tensor(image.affine).cpu(), dtype=np.float64)
    affine = affine[0] if affine.ndim == 3 else affine
    if affine.shape[-1] - 1 < spatial_dims:
        affine = to_affine_nd(spatial_dims, affine)
    return tuple(float(s) for s in affine_to_spacing(affine, r=spatial_dims))


def scale_from_spacing(image: Tensor, spacing_mm: float | Sequence[float]) -> tuple[float, ...]:
    """Scale per axis that brings an image to a spacing; an axis that is coarser already keeps scale 1.

    Args:
        image: ``MetaTensor`` of shape (B, C, *spatial); its affine holds the spacing.
        spacing_mm: wanted spacing in millimetres, one number or one per axis.

    Raises:
        LevelError: when the image carries no spacing, or the numbers do not fit its axes.
    """
    dims = image.ndim - 2
    have = spacing_mm_of(image, dims)
    if have is None:
        raise LevelError("a level given in spacing_mm needs a MetaTensor with an affine; give `scale` instead.")
    want = per_axis(spacing_mm, dims)
    if len(want) != dims:
        raise LevelError(f"spacing_mm {want} has {len(want)} entries, the image has {dims} spatial axes.")
    return tuple(max(1.0, w / h) for w, h in zip(want, have, strict=True))


@lru_cache(maxsize=256)
def _axis_taps(size_in: int, size_out: int, field: Fraction | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The taps of `axis_taps` as int64 and float64 arrays, from exact integer arithmetic."""
    i = np.arange(size_out, dtype=np.int64)
    width = Fraction(size_in) if field is None else field
    # the field of view and an input voxel in units of 1 / size_out voxels, and whole
    whole, voxel = width.numerator, size_out * width.denominator
    if whole == voxel:
        return np.minimum(i, size_in - 1)[:, None], np.ones((size_out, 1))
    if voxel > whole:
        centre = (2 * i + 1) * whole - voxel  # in units of 1 / (2 voxel) voxels
        low, rest = np.divmod(centre, 2 * voxel)
        index = np.clip(np.stack([low, low + 1], axis=1), 0, size_in - 1)
        upper = rest / (2.0 * voxel)
        lower = (2 * voxel - rest) / (2.0 * voxel)
        return index, np.stack([lower, upper], axis=1)
    start, end = i * whole, (i + 1) * whole
    first, last = start // voxel, (end - 1) // voxel
    taps = int((last - first).max()) + 1
    index = first[:, None] + np.arange(taps)[None, :]
    covered = np.minimum(end[:, None], (index + 1) * voxel) - np.maximum(start[:, None], index * voxel)
    weight = np.clip(covered, 0, None) / float(whole)
    return np.minimum(index, size_in - 1), weight


def axis_taps(size_in: int, size_out: int) -> tuple[Tensor, Tensor]:
    """Which input voxels an output voxel is made of along one axis, and with what weights.

    Args:
        size_in: number of voxels to read from.
        size_out: number of voxels to make.

    Returns:
        ``index`` (size_out, T) of int64 and ``weight`` (size_out, T) of float64, rows summing to one: one tap when the
        sizes are equal, two (linear, clamped at the edge) when enlarging, the exact overlap when shrinking.

    Example:
        >>> index, weight = axis_taps(4, 2)
        >>> index.tolist(), weight.tolist()
        ([[0, 1], [2, 3]], [[0.5, 0.5], [0.5, 0.5]])
    """
    if size_in < 1 or size_out < 1:
        raise LevelError(f"grids need one voxel at least along every axis, got {size_in} to {size_out}.")
    index, weight = _axis_taps(int(size_in), int(size_out))
    return torch.from_numpy(index.copy()), torch.from_numpy(weight.copy())


def resample(x: Tensor, size: Sequence[int], region: Region | None = None) -> Tensor:
    """Bring an image or logits to another grid of the same field of view.

    Args:
        x: (B, C, *spatial), any floating dtype (16-bit inputs are computed in float32 and rounded once); integers
            become float32. A ``MetaTensor`` stays one, with the affine of the new grid.
        size: spatial size of the output grid.
        region: slices of the *output* grid, one per axis; only these are computed, with the bits of the whole.

    Returns:
        (B, C, *size), or (B, C, *region). With an unchanged size and no region this is ``x`` itself, not a copy.

    Raises:
        LevelError: when ``size`` or ``region`` does not fit the axes of ``x``.
    """
    source = tuple(x.shape[2:])
    target = tuple(int(s) for s in size)
    if len(target) != len(source):
        raise LevelError(f"size {target} has {len(target)} entries, the image has {len(source)} spatial axes.")
    bounds = _bounds(target, region)
    if not x.is_floating_point():
        x = x.float()
    if source == target and all(b == (0, n) for b, n in zip(bounds, target, strict=True)):
        return x
    values = x.as_tensor() if isinstance(x, MetaTensor) else x
    values = _resample_slabs(values, source, target, bounds)
    if not isinstance(x, MetaTensor):
        return values
    out = MetaTensor(values)
    out.copy_meta_from(x)  # type: ignore[no-untyped-call]
    out.affine = grid_affine(torch.as_tensor(x.affine), source, target, [b[0] for b in bounds])
    return out


def source_region(
    size_in: Sequence[int], size_out: Sequence[int], region: Region | None, field: Field | None = None
) -> tuple[slice, ...]:
    """The part of the input grid that `resample` reads for a region of the output grid.

    Args:
        size_in: spatial size of the input grid.
        size_out: spatial size of the output grid.
        region: slices of the output grid; None for all of it.
        field: see `resample_part`.

    Returns:
        One slice of the input grid per axis.
    """
    parts = []
    fields = field or (None,) * len(size_in)
    for n_in, n_out, own, (start, stop) in zip(size_in, size_out, fields, _bounds(size_out, region), strict=True):
        index = _axis_taps(n_in, n_out, own)[0][start:stop]
        parts.append(slice(int(index.min()), int(index.max()) + 1))
    return tuple(parts)


def source_rows(size_in: int, size_out: int, rows: np.ndarray) -> np.ndarray:
    """The part of one axis that `resample` reads for each of several parts of the output axis.

    Args:
        size_in: number of input voxels.
        size_out: number of output voxels.
        rows: (N, 2) first and one past the last output voxel of each part.

    Returns:
        (N, 2), the same of the input.
    """
    index = _axis_taps(size_in, size_out)[0]
    # Taps ascend, so the first row's first and the last row's last one are the outermost.
    return np.stack([index[rows[:, 0], 0], index[rows[:, 1] - 1, -1] + 1], axis=1)


def resample_part(
    part: Tensor,
    corner: Sequence[int],
    size_in: Sequence[int],
    size_out: Sequence[int],
    region: Region | None,
    field: Field | None = None,
) -> Tensor:
    """`resample` where only a part of the input grid is at hand.

    Args:
        part: (B, C, *part), values of the input grid from ``corner`` on; it holds `source_region` at least.
        corner: index of the part's first voxel in the input grid.
        size_in: spatial size of the whole input grid.
        size_out: spatial size of the whole output grid.
        region: slices of the output grid to compute; None for all of it.
        field: the field of view in voxels of the input grid, where that ends before or beyond it: the halves of 767 pixels are
            383 voxels of a field of 383.5. What lies beyond is the last voxel. None: the whole input grid.

    Returns:
        (B, C, *region), with the bits that `resample` of the whole would have there.
    """
    bounds = _bounds(size_out, region)
    return _resample_axes(part, tuple(size_in), tuple(corner), tuple(size_out), bounds, field)


def spatial(region: Region) -> tuple[slice, ...]:
    """The index of a region in a tensor (B, C, *spatial): all images, all channels."""
    return (slice(None), slice(None), *region)


def slabs(size: Sequence[int], channels: int, *, values: int = 1 << 22) -> Iterator[tuple[slice, ...]]:
    """Cut a grid along its first axis into regions of about ``values`` numbers each, for work in bounded memory.

    Args:
        size: spatial size of the grid.
        channels: numbers held per voxel.
        values: numbers per slab; a slab is one plane at least.

    Yields:
        One slice per axis.
    """
    plane = max(1, channels * math.prod(size[1:]))
    step = max(1, values // plane)
    for start in range(0, size[0], step):
        yield (slice(start, min(start + step, size[0])), *(slice(0, n) for n in size[1:]))


def grid_affine(
    affine: Tensor, size_in: Sequence[int], size_out: Sequence[int], corner: Sequence[int] | None = None
) -> Tensor:
    """Voxel-to-world matrix of a resampled grid, so that every world position stays where it is.

    Args:
        affine: (r + 1, r + 1) or (B, r + 1, r + 1) matrix of the input grid, voxel indices to millimetres.
        size_in: spatial size of the input grid.
        size_out: spatial size of the output grid.
        corner: index of the first voxel kept of the output grid; default the whole grid.

    Returns:
        A matrix of float64 for the output grid, of the rank of ``affine`` or of the grid, whichever is larger.
    """
    dims = len(size_in)
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    if matrix.shape[-1] - 1 < dims:
        flat = matrix.reshape(-1, *matrix.shape[-2:])
        matrix = torch.stack([torch.as_tensor(to_affine_nd(dims, m)) for m in flat]).reshape(
            *matrix.shape[:-2], dims + 1, dims + 1
        )
    step = torch.eye(matrix.shape[-1], dtype=torch.float64, device=matrix.device)
    for axis in range(dims):
        ratio = size_in[axis] / size_out[axis]
        first = corner[axis] if corner is not None else 0
        step[axis, axis] = ratio
        step[axis, -1] = (first + 0.5) * ratio - 0.5
    return matrix @ step


def _bounds(size: Sequence[int], region: Region | None) -> list[tuple[int, int]]:
    if region is None:
        return [(0, n) for n in size]
    if len(region) != len(size):
        raise LevelError(f"region has {len(region)} slices, the grid has {len(size)} spatial axes.")
    bounds = []
    for part, n in zip(region, size, strict=True):
        start, stop, step = part.indices(n)
        if step != 1 or stop <= start:
            raise LevelError(
                f"a region is made of non-empty slices of step 1 inside the grid {tuple(size)}, got {part}."
            )
        bounds.append((start, stop))
    return bounds


def _resample_slabs(
    x: Tensor, source: tuple[int, ...], target: tuple[int, ...], bounds: list[tuple[int, int]]
) -> Tensor:
    """`_resample_axes` of a whole tensor, slab by slab, so that what lies between two axes stays in a processor's cache."""
    origin, size = [0] * len(source), [stop - start for start, stop in bounds]
    between = math.prod(x.shape[:2]) * math.prod(max(s, t) for s, t in zip(source[1:], target[1:], strict=True))
    parts = list(slabs(size, -(-between // math.prod(target[1:])), values=2 * _PIECE))
    if len(parts) == 1 or x.device.type != "cpu" or _piece_size(x) != _PIECE:
        return _resample_axes(x, source, origin, target, bounds)
    out = x.new_empty((*x.shape[:2], *size))
    for part in parts:
        own = [(start + p.start, start + p.stop) for (start, _), p in zip(bounds, part, strict=True)]
        out[spatial(part)] = _resample_axes(x, source, origin, target, own)
    return out


def _resample_axes(
    x: Tensor,
    source: tuple[int, ...],
    offset: Sequence[int],
    target: tuple[int, ...],
    bounds: list[tuple[int, int]],
    field: Field | None = None,
) -> Tensor:
    dtype = x.dtype
    taps, lows = [], []
    given: Field = field or [Fraction(n) for n in source]
    fields = tuple(None if own == n else own for own, n in zip(given, source, strict=True))
    for axis, (start, stop) in enumerate(bounds):
        index, weight = _axis_taps(source[axis], target[axis], fields[axis])
        index, weight = index[start:stop], weight[start:stop]
        low = int(index.min())
        # Rows beyond the region are dropped before any arithmetic: a slab costs a slab.
        x = x.narrow(axis + 2, low - offset[axis], int(index.max()) - low + 1)
        taps.append((index - low, weight))
        lows.append(low)
    if dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    for axis in _axis_order(source, target):
        index, weight = taps[axis]
        if fields[axis] is None and source[axis] == target[axis]:
            continue
        if fields[axis] is None and target[axis] % source[axis] == 0:
            x = _enlarge(x, axis + 2, target[axis] // source[axis], bounds[axis], lows[axis])
        else:
            x = weighted_sum(x, axis + 2, index, weight)
    return x.to(dtype)


def _axis_order(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Shrinking axes first, for the least work; it depends on the grids alone, so slabs and whole agree."""

    def key(axis: int) -> tuple[float, int]:
        ratio = target[axis] / source[axis]
        return ratio, (axis if ratio < 1 else -axis)

    return sorted(range(len(source)), key=key)


def weighted_sum(x: Tensor, axis: int, index: np.ndarray, weight: np.ndarray) -> Tensor:
    """Sum the taps of one axis. Products and sums are separate kernels: a fused one rounds by memory position.

    Args:
        x: any floating tensor.
        axis: the axis.
        index: (rows, T) of int64, which rows of ``x`` make up a row of the output.
        weight: (rows, T), their weights.

    Returns:
        a tensor like ``x`` with that many rows.
    """
    out = x.new_empty((*x.shape[:axis], index.shape[0], *x.shape[axis + 1 :]))
    even = [_even_step(index[:, tap]) for tap in range(index.shape[1])]
    level = [bool((weight[:, tap] == weight[0, tap]).all()) for tap in range(index.shape[1])]
    # Shrinking by 2, 4, 8 weighs all taps alike, by a number that rounds nothing: one product of their sum has the same bits.
    alike = all(level) and bool((weight[0] == weight[0, 0]).all()) and math.frexp(weight[0, 0])[0] == 0.5
    for piece in _pieces(out.shape, range(out.ndim), _piece_size(x)):
        rows = piece[axis]
        line = (*piece[:axis], slice(None), *piece[axis + 1 :])
        taken = [_take(x[line], axis, index[rows, tap], even[tap]) for tap in range(index.shape[1])]
        if alike:
            out[piece] = _sum(taken) * float(weight[0, 0])
        else:
            factors = [
                float(weight[0, tap]) if level[tap] else _along(weight[rows, tap], axis, x) for tap in range(len(taken))
            ]
            out[piece] = _sum([part * w for part, w in zip(taken, factors, strict=True)])
    return out


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum in order."""
    if len(parts) == 1:
        return parts[0]
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total.add_(part)
    return total


def _along(weight: np.ndarray, axis: int, like: Tensor) -> Tensor:
    """Weights of one axis, to be multiplied with a tensor of the type and device of another."""
    shape = [1] * like.ndim
    shape[axis] = len(weight)
    return torch.as_tensor(weight, dtype=like.dtype, device=like.device).reshape(shape)


def _even_step(index: np.ndarray) -> int | None:
    """The distance of entries that are evenly spaced; None where they are not."""
    steps = np.diff(index)
    if steps.size == 0:
        return 1
    return int(steps[0]) if steps[0] > 0 and (steps == steps[0]).all() else None


def _take(x: Tensor, axis: int, index: np.ndarray, step: int | None) -> Tensor:
    """Entries of an axis; evenly spaced ones, as shrinking by a whole number reads them, are a view and no copy."""
    if step is not None:
        return x[(slice(None),) * axis + (slice(int(index[0]), int(index[-1]) + 1, step),)]
    return x.index_select(axis, torch.as_tensor(index, device=x.device))


def _piece_size(x: Tensor) -> int:
    """Numbers in a piece; for a gradient, which is kept for each piece as a whole, all in one."""
    return sys.maxsize if x.requires_grad and torch.is_grad_enabled() else _PIECE


def _pieces(shape: Sequence[int], order: Sequence[int], values: int) -> Iterator[tuple[slice, ...]]:
    """Cut a tensor into pieces that stay in a processor's cache between the kernels that work on them.

    Args:
        shape: of the tensor.
        order: axes that may be cut, the first one first.
        values: numbers per piece, more where no axis is left to cut.
    """
    size = [max(1, n) for n in shape]
    steps = list(size)
    for axis in order:
        rest = math.prod(steps) // steps[axis]
        steps[axis] = min(steps[axis], max(1, values // rest))
    for corner in product(*[range(0, n, step) for n, step in zip(size, steps, strict=True)]):
        yield tuple(slice(c, min(c + step, n)) for c, step, n in zip(corner, steps, shape, strict=True))


def _enlarge(x: Tensor, axis: int, factor: int, bounds: tuple[int, int], low: int) -> Tensor:
    """Linear enlargement by a whole number: every ``factor``-th value is made of neighbours in order, with the same weights.

    Args:
        x: the rows that are read; the bits are those of `weighted_sum`, which picks them one by one.
        axis: the axis.
        factor: output voxels for one of the input.
        bounds: first and one past the last voxel of the output.
        low: index of the first row of ``x`` in the input.
    """
    start, stop = bounds
    first, last = start // factor, -(-stop // factor)
    have = x.shape[axis]
    # Rows `first - 1` to `last`, the border repeated beyond it.
    before, after = low - (first - 1), last - (low + have - 1)
    rows = torch.cat([x.narrow(axis, 0, 1)] * before + [x] + [x.narrow(axis, have - 1, 1)] * after, axis)
    count = last - first
    phases = []
    for phase in range(factor):
        centre = 2 * phase + 1 - factor  # in units of 1 / (2 factor) rows from the row of the block
        row, upper = (0, centre + 2 * factor) if centre < 0 else (1, centre)
        phases.append((row, (2 * factor - upper) / (2.0 * factor), upper / (2.0 * factor)))
    out = x.new_empty((*x.shape[:axis], count, factor, *x.shape[axis + 1 :]))
    cut = [a for a in range(rows.ndim) if a != axis]
    graded = x.requires_grad and torch.is_grad_enabled()  # a gradient knows no output that is there already
    for piece in _pieces(rows.shape, cut, _piece_size(x) // factor):
        both = (*piece[:axis], slice(None), slice(None), *piece[axis + 1 :])
        source, made = rows[piece], out[both]
        weighted: dict[float, Tensor] = {}
        for phase, (row, lower, higher) in enumerate(phases):
            for weight in (lower, higher):  # the same few weights come back, so each product is made once
                if weight not in weighted:
                    weighted[weight] = source * weight
            near, far = weighted[lower].narrow(axis, row, count), weighted[higher].narrow(axis, row + 1, count)
            if graded:
                made.select(axis + 1, phase).copy_(near + far)
            else:
                torch.add(near, far, out=made.select(axis + 1, phase))
    return out.flatten(axis, axis + 1).narrow(axis, start - first * factor, stop - start)
