"""Putting refined windows together, and onto the answer of the level below.

Within a level windows are averaged with MONAI's importance maps. Products, sums and choices are separate kernels on
whole regions, and the fade is integer arithmetic, so that a slab has the bits of the whole.

Letters in shapes: ``B`` batch, ``C`` channels, ``K`` windows, ``D`` spatial axes, ``*roi`` window size, ``*region`` the
part of a level's grid at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor

from monai_dis.inferers.grid import spatial
from monai_dis.inferers.score import uncertainty

__all__ = ["average_windows", "fade", "fade_radius", "importance_map", "merge_below", "weight_map", "window_parts"]

Placed = tuple[int, Sequence[int], Tensor, Tensor | None]
"""A window in its place: index in the batch, corner on the level's grid, logits (C, *roi), weights (*roi) of its own or None."""


def importance_map(
    roi: Sequence[int],
    mode: str = "constant",
    sigma_scale: float | Sequence[float] = 0.125,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Weight of every voxel of a window in the average: MONAI's map, clamped as its sliding window clamps it.

    Returns:
        (*roi), positive everywhere.
    """
    weight: Tensor = compute_importance_map(tuple(roi), mode=mode, sigma_scale=sigma_scale, device=device, dtype=dtype)
    return weight


def weight_map(
    roi: Sequence[int],
    mode: str,
    sigma_scale: float | Sequence[float],
    given: Tensor | None,
    like: Tensor,
) -> Tensor:
    """`importance_map`, or the map that the caller gave where it has the window's size, as MONAI's sliding window chooses.

    Args:
        roi: window size.
        mode: see `importance_map`.
        sigma_scale: see `importance_map`.
        given: (*roi) map of the caller's, or None.
        like: gives type and device.
    """
    if given is not None and tuple(given.shape) == tuple(roi):
        return given.to(device=like.device, dtype=like.dtype)
    return importance_map(roi, mode, sigma_scale, dtype=like.dtype, device=like.device)


def window_parts(
    corner: Sequence[int], roi: Sequence[int], start: Sequence[int], stop: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Where a window and a region meet.

    Args:
        corner: first voxel of the window on the grid (negative where the window reaches beyond the image).
        roi: window size.
        start: first voxel of the region.
        stop: one past the last voxel of the region.

    Returns:
        Slices of the region and of the window; None when they do not meet.
    """
    inside, window = [], []
    for c, r, a, b in zip(corner, roi, start, stop, strict=True):
        first, last = max(c, a), min(c + r, b)
        if last <= first:
            return None
        inside.append(slice(first - a, last - a))
        window.append(slice(first - c, last - c))
    return tuple(inside), tuple(window)


def average_windows(
    windows: Iterable[Placed], importance: Tensor, like: Tensor, start: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Weighted mean of all windows that touch a region.

    Args:
        windows: windows in the order in which they are summed.
        importance: (*roi), for windows without weights of their own.
        like: (B, C, *region), gives shape, type and device.
        start: first voxel of the region on the level's grid.

    Returns:
        The mean (B, C, *region), zero where there is no window, and the summed weight (B, 1, *region).
    """
    total = torch.zeros_like(like)
    weight = like.new_zeros((like.shape[0], 1, *like.shape[2:]))
    stop = [a + n for a, n in zip(start, like.shape[2:], strict=True)]
    for image, corner, logits, own in windows:
        parts = window_parts(corner, importance.shape, start, stop)
        if parts is None:
            continue
        inside, window = parts
        w = (importance if own is None else own)[window]
        # In place on the view: with +=, autograd would not take a window that fills the region.
        total[image : image + 1][spatial(inside)].add_(logits[None][spatial(window)] * w)
        weight[image, 0][inside] += w
    return total / torch.where(weight > 0, weight, torch.ones_like(weight)), weight


def merge_below(
    base: Tensor, refined: Tensor, weight: Tensor, method: str, activation: str, weight_below: Tensor | None = None
) -> Tensor:
    """Merge the windows' mean with the answer of the level below.

    Args:
        base: (B, C, *region) logits of the level below on this grid.
        refined: (B, C, *region) mean of the windows.
        weight: (B, 1, *region): for ``"entropy"`` and ``"replace"`` positive where a window lies, for ``"blend"`` the
            fade, for ``"average"`` the summed weight of the windows.
        method: ``"replace"``, ``"blend"``, ``"entropy"`` (weights are one minus the entropy of each answer) or
            ``"average"`` (weights are those of the windows behind each answer).
        activation: how logits become probabilities, for ``"entropy"``.
        weight_below: (1, 1, *region) summed weight of the windows of the level below, positive, for ``"average"``.

    Returns:
        (B, C, *region); exactly ``base`` where the weight is 0, exactly ``refined`` where it is 1.
    """
    if method == "replace":
        return torch.where(weight > 0, refined, base)
    if method == "entropy":
        sure_below = 1 - uncertainty(base, activation=activation) + 1e-6
        sure_window = 1 - uncertainty(refined, activation=activation) + 1e-6
        weight = torch.where(weight > 0, sure_window / (sure_window + sure_below), torch.zeros_like(sure_window))
    if method == "average":
        assert weight_below is not None
        # Windows that were added last join the average as if all had run in one go.
        weight = weight / (weight + weight_below)
    step = (refined - base) * weight
    return torch.where(weight >= 1, refined, torch.where(weight > 0, base + step, base))


def fade_radius(roi: Sequence[int]) -> tuple[int, ...]:
    """Half the width of the fade per axis: a sixteenth of the window, so that a border fades over an eighth of it."""
    return tuple(min((r - 1) // 4, max(1, round(r / 16))) if r > 1 else 0 for r in roi)


def fade(covered: Tensor, radius: Sequence[int]) -> Tensor:
    """Weight of the refined answer: 1 inside covered ground, falling steadily to 0 at borders with uncovered ground.

    The covered ground is eroded by a box, then averaged over the same box: uncovered voxels get exactly 0, voxels
    deeper than twice the radius exactly 1.

    Args:
        covered: (B, 1, *grown) bool, the region grown by twice the radius on every side; voxels beyond the image are
            True, since the image's border is no border with uncovered ground.
        radius: half the width of the box per axis, see `fade_radius`.

    Returns:
        (B, 1, *region) float32 in [0, 1].

    Example:
        >>> row = torch.tensor([[[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]]]).bool()
        >>> [round(float(v), 2) for v in fade(row, [1])[0, 0]]
        [0.0, 0.0, 0.0, 0.33, 0.67, 1.0, 1.0, 1.0]
    """
    full = math.prod(2 * r + 1 for r in radius)
    inner = covered
    for axis, r in enumerate(radius, start=2):
        inner = _over_box(inner, axis, 2 * r + 1, torch.bitwise_and)
    counts = inner.to(torch.int16 if full < 1 << 15 else torch.int32)
    for axis, r in enumerate(radius, start=2):
        counts = _over_box(counts, axis, 2 * r + 1, torch.add)
    return counts.float() / full


def _over_box(values: Tensor, axis: int, width: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine ``width`` neighbours along an axis, for the positions that have them all; whole numbers, so any order will do.

    Halves of a box are alike, so that a box of 13 takes five steps.
    """
    count = values.shape[axis] - width + 1
    done: Tensor | None = None
    reach, step = 0, 1  # what is done reaches over so many neighbours, the next values over `step`
    while True:
        if width & step:
            part = values.narrow(axis, reach, count)
            done = part if done is None else combine(done, part)
            reach += step
        if reach == width:
            assert done is not None
            return done
        length = values.shape[axis] - step
        values = combine(values.narrow(axis, 0, length), values.narrow(axis, step, length))
        step *= 2
