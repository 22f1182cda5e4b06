"""How uncertain an answer is, per voxel and per window.

Uncertainty is computed on interpolated logits and never interpolated itself: between a voxel at logit -9 and its
neighbour at +9 runs a boundary where the answer is a coin toss; both ends are certain, so the mean of their
uncertainties says "certain", while the uncertainty of the mean logit 0 is the largest there is.

Letters in shapes: ``B`` batch, ``C`` channels, ``*grid`` the map's size, ``*cells`` and ``*starts`` see `WindowScores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from monai_dis.errors import LevelError, NetworkError
from monai_dis.inferers.grid import resample
from monai_dis.inferers.windows import WindowGrid

__all__ = [
    "UNSURE_LOGIT",
    "CellLayout",
    "Planes",
    "WindowScores",
    "box_sums",
    "cell_layout",
    "hard_labels",
    "is_unsure",
    "lost_detail",
    "one_hot",
    "probabilities",
    "score_windows",
    "uncertainty",
]

# Multiples of 2**-24 sum without rounding in float64 up to 2**29 voxels: equal windows score equally wherever they lie.
_QUANTUM = 2.0**24
#: Distance from 0 of a logit whose two answers, yes and no, have half the largest entropy.
UNSURE_LOGIT = 2.0904565
# Planes of such multiples up to 1 whose sums 32 bits hold.
_PLANES = 64


def probabilities(logits: Tensor, activation: str) -> Tensor:
    """Softmax over channels or sigmoid per channel, of float32 at least.

    Raises:
        NetworkError: when softmax is asked of a single channel, where it would always be one.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if activation == "sigmoid":
        return torch.sigmoid(logits)
    if logits.shape[1] < 2:
        raise NetworkError("activation 'softmax' needs two channels or more; use 'sigmoid' for a network with one.")
    return torch.softmax(logits, dim=1)


def one_hot(logits: Tensor, activation: str) -> Tensor:
    """Which class each voxel is given (softmax), or whether it is given each class (sigmoid).

    Args:
        logits: (B, C, *grid).
        activation: ``"softmax"`` or ``"sigmoid"``.

    Returns:
        (B, C, *grid) bool.
    """
    if activation == "sigmoid":
        return logits > 0
    classes = torch.arange(logits.shape[1], device=logits.device).reshape(1, -1, *[1] * (logits.ndim - 2))
    return _likeliest(logits) == classes


def hard_labels(logits: Tensor, activation: str) -> Tensor:
    """The answer in whole numbers.

    Args:
        logits: (B, C, *grid).
        activation: ``"softmax"`` or ``"sigmoid"``.

    Returns:
        (B, 1, *grid) indices of the likeliest class for softmax; (B, C, *grid) of 0 and 1 for sigmoid; uint8, or int16 for
        more than 256 classes.
    """
    kind = torch.uint8 if logits.shape[1] <= 256 else torch.int16
    if activation == "sigmoid":
        return (logits > 0).view(torch.uint8).to(kind)
    return _likeliest(logits).to(kind)


def _likeliest(logits: Tensor) -> Tensor:
    """What ``argmax`` gives, which takes several times as long over the channels on a CPU; (B, 1, *grid)."""
    return logits.max(dim=1, keepdim=True).indices


def uncertainty(logits: Tensor, method: str = "entropy", *, activation: str = "softmax") -> Tensor:
    """Uncertainty of every voxel, 0 (certain) to 1 (no better than chance).

    Args:
        logits: (B, C, *grid).
        method: ``"entropy"`` (of the class probabilities, divided by that of chance), ``"margin"`` (one minus the
            distance of the two likeliest classes), ``"least_confidence"`` (one minus the likeliest class, scaled; for
            sigmoid ``1 - 2 * abs(p - 0.5)``).
        activation: ``"softmax"`` (exclusive classes) or ``"sigmoid"`` (each channel on its own; the most uncertain
            one counts).

    Returns:
        (B, 1, *grid). A voxel whose logits are not numbers counts as uncertain.

    Example:
        >>> uncertainty(torch.tensor([[[-200.0, 0.0, 200.0]]]), activation="sigmoid").tolist()
        [[[0.0, 1.0, 0.0]]]
    """
    if activation == "sigmoid" and method == "entropy":
        each = _binary_entropy(logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits)
        return torch.clamp(each.amax(dim=1, keepdim=True).nan_to_num(nan=1.0), 0.0, 1.0)
    p = probabilities(logits, activation)
    classes = p.shape[1]
    if activation == "sigmoid":
        value = (1 - (2 * p - 1).abs()).amax(dim=1, keepdim=True)
    elif method == "entropy":
        value = torch.special.entr(p).sum(dim=1, keepdim=True) / float(np.log(classes))
    elif method == "margin":
        best = p.topk(2, dim=1).values
        value = 1 - (best[:, :1] - best[:, 1:])
    else:
        value = (1 - p.amax(dim=1, keepdim=True)) * (classes / (classes - 1))
    return torch.clamp(value.nan_to_num(nan=1.0), 0.0, 1.0)


def is_unsure(logits: Tensor, activation: str) -> Tensor:
    """Where the entropy of `uncertainty` is above 0.5.

    Args:
        logits: (B, C, *grid).
        activation: ``"softmax"`` or ``"sigmoid"``.

    Returns:
        (B, 1, *grid) bool.
    """
    if activation == "sigmoid":
        # Entropy falls with the distance from 0, so no logarithm is needed; what is not a number is not sure.
        return ~(logits.abs().amin(dim=1, keepdim=True) >= UNSURE_LOGIT)
    return uncertainty(logits, activation=activation) > 0.5


def _binary_entropy(logits: Tensor) -> Tensor:
    """Entropy in bits of the answers yes and no, from one exponential and one logarithm: both ends are alike.

    With ``a = abs(logit)`` it is ``log(1 + exp(-a)) + a * exp(-a) / (1 + exp(-a))``.
    """
    # Beyond 200 the exponential is zero, and infinity times zero would be nothing.
    size = logits.abs().clamp_(max=200.0)
    rest = torch.exp(-size)
    return (torch.log1p(rest) + size.mul_(rest).div_(1 + rest)).div_(float(np.log(2.0)))


def lost_detail(image: Tensor, below: Sequence[int]) -> Tensor:
    """How much of the image the level below could not see: what its grid takes away, voxel by voxel.

    A score for exploration: it asks nothing of the coarse answer, so it leads to ground that only looks calm.

    Args:
        image: (B, Ci, *grid) on the grid of the level.
        below: spatial size of the level below.

    Returns:
        (B, 1, *grid) in [0, 1]: distance of the image from its own small version, as a share of the image's largest.
    """
    lost = (image - resample(resample(image, below), image.shape[2:])).abs().mean(dim=1, keepdim=True).float()
    most = lost.amax(dim=tuple(range(1, lost.ndim)), keepdim=True)
    return (lost / torch.where(most > 0, most, torch.ones_like(most))).nan_to_num(nan=1.0)


class Planes(Protocol):
    """A map (B, C, *grid) that is computed some planes of its first spatial axis at a time, since it is too large for memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, C, *grid)."""

    def planes(self, start: int, stop: int) -> Tensor:
        """The map from one plane to before another, (B, C, stop - start, ...)."""


@dataclass(frozen=True)
class CellLayout:
    """The cells that all window edges cut a grid into: every window is a box of whole cells.

    Args:
        edges: positions per axis in voxels of the level's grid, ascending, from 0 to its size.
        low: first cell of each start position, per axis.
        high: one past the last cell of each start position, per axis.
    """

    edges: tuple[np.ndarray, ...]
    low: tuple[np.ndarray, ...]
    high: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class WindowScores:
    """Scores of all candidate windows of a level, and the cells that coverage takes from.

    Args:
        layout: the cells.
        score: (B, *starts) float32, higher is more uncertain.
        cells: (B, *cells) float64: summed or largest uncertainty of each cell, or its area for ``reduce="share"``.
        reduce: ``"sum"``, ``"max"``, or ``"share"`` (the score times the uncovered share of the window).
        norm: (*starts) divisor that turns a window's sum into its score (1 for sums).
    """

    layout: CellLayout
    score: np.ndarray
    cells: np.ndarray
    reduce: str
    norm: np.ndarray


def cell_layout(windows: WindowGrid, parts: int = 1) -> CellLayout:
    """Cut a grid at every edge of its candidate windows.

    Args:
        windows: the candidates.
        parts: cut on until a window is so many cells wide at least, or cells are single voxels.
    """
    edges, low, high = [], [], []
    for n, r, starts in zip(windows.grid, windows.roi, windows.starts, strict=True):
        first = np.clip(np.asarray(starts, dtype=np.int64), 0, n)
        last = np.clip(np.asarray(starts, dtype=np.int64) + r, 0, n)
        cuts = np.unique(np.concatenate([first, last, [0, n]]))
        if parts > 1:
            pieces = np.maximum(1, -(-np.diff(cuts) * parts // r))
            between = [a + (b - a) * np.arange(k) // k for a, b, k in zip(cuts, cuts[1:], pieces, strict=False)]
            cuts = np.unique(np.concatenate([*between, [n]]))
        edges.append(cuts)
        low.append(np.searchsorted(cuts, first))
        high.append(np.searchsorted(cuts, last))
    return CellLayout(tuple(edges), tuple(low), tuple(high))


def score_windows(
    logits_uncertainty: Tensor | Planes | None,
    window_means_of: Tensor | Planes | None,
    windows: WindowGrid,
    aggregate: str = "mean",
    *,
    parts: int = 1,
) -> WindowScores:
    """Score every candidate window at once.

    Args:
        logits_uncertainty: (B, 1, *grid) from `uncertainty`, on any grid of the same field of view; used for all scores
            but the poster's.
        window_means_of: (B, C, *grid) probabilities for the poster's score ``0.5 - abs(mean(p) - 0.5)``, the class
            nearest one half; exactly one of the two maps is given.
        windows: the candidates.
        aggregate: ``"mean"``, ``"sum"`` (in voxels of the level's grid) or ``"max"``.
        parts: see `cell_layout`.

    Raises:
        LevelError: when the largest value is asked of a map in planes.

    Returns:
        The scores. Means and sums come from one summed-area table, exact in float64.
    """
    layout = cell_layout(windows, parts)
    areas = _outer([np.diff(e).astype(np.float64) for e in layout.edges])
    area = box_sums(areas, layout.low, layout.high)
    if window_means_of is not None:
        sums = _cell_sums(window_means_of, windows.grid, layout.edges)
        means = box_sums(sums, layout.low, layout.high) / area
        score = (0.5 - np.abs(means - 0.5)).max(axis=1)
        cells = np.broadcast_to(areas, (score.shape[0], *areas.shape)).copy()
        return WindowScores(layout, score.astype(np.float32), cells, "share", area)
    assert logits_uncertainty is not None
    if aggregate == "max":
        if not isinstance(logits_uncertainty, Tensor):
            raise LevelError("aggregate 'max' needs the whole map in memory; use the aggregate 'mean' or 'sum'.")
        cells = _cell_max(logits_uncertainty, windows.grid, layout.edges)[:, 0]
        score = box_max(cells, layout.low, layout.high)
        return WindowScores(layout, score.astype(np.float32), cells, "max", np.ones_like(area))
    cells = _cell_sums(logits_uncertainty, windows.grid, layout.edges)[:, 0]
    norm = area if aggregate == "mean" else np.ones_like(area)
    score = box_sums(cells, layout.low, layout.high) / norm
    return WindowScores(layout, score.astype(np.float32), cells, "sum", norm)


def box_sums(cells: np.ndarray, low: Sequence[np.ndarray], high: Sequence[np.ndarray]) -> np.ndarray:
    """Sums over boxes that are products of intervals along the last axes.

    Args:
        cells: (..., *cells).
        low: first cell per interval, one array per axis.
        high: one past the last cell per interval, one array per axis.

    Returns:
        (..., *intervals).
    """
    dims = len(low)
    for axis in range(cells.ndim - dims, cells.ndim):
        table = np.concatenate([np.zeros_like(cells.take([0], axis=axis)), np.cumsum(cells, axis=axis)], axis=axis)
        interval = axis - (cells.ndim - dims)
        cells = table.take(high[interval], axis=axis) - table.take(low[interval], axis=axis)
    return cells


def box_max(cells: np.ndarray, low: Sequence[np.ndarray], high: Sequence[np.ndarray]) -> np.ndarray:
    """Largest values over boxes; arguments as in `box_sums`."""
    dims = len(low)
    for interval in range(dims):
        axis = cells.ndim - dims + interval
        parts = [
            cells.take(np.arange(a, b), axis=axis).max(axis=axis)
            for a, b in zip(low[interval], high[interval], strict=True)
        ]
        cells = np.stack(parts, axis=axis)
    return cells


def _cell_sums(values: Tensor | Planes, grid: Sequence[int], edges: Sequence[np.ndarray]) -> np.ndarray:
    """Sums of a map over all cells, in voxels of the level's grid: one summed-area table, read at the cells' edges.

    The map is constant over each of its voxels, so its table is linear between voxel borders, and reading it in between
    is exact.
    """
    size = values.shape[2:]
    places = [np.divmod(cuts * n, g) for n, g, cuts in zip(size, grid, edges, strict=True)]
    known = [
        np.unique(np.concatenate([below, np.minimum(below + 1, n)])) for n, (below, _) in zip(size, places, strict=True)
    ]
    read = _table_at(values, known)
    for axis, (n, g, (below, rest), have) in enumerate(zip(size, grid, places, known, strict=True), start=2):
        shape = [1] * read.ndim
        shape[axis] = len(below)
        share = (rest / g).reshape(shape)
        lower = read.take(np.searchsorted(have, below), axis=axis)
        upper = read.take(np.searchsorted(have, np.minimum(below + 1, n)), axis=axis)
        read = np.diff(lower * (1 - share) + upper * share, axis=axis) * (g / n)
    return read


def _table_at(values: Tensor | Planes, known: Sequence[np.ndarray]) -> np.ndarray:
    """The summed-area table of a map, at some positions of each axis alone; its sums are exact, so their order is free.

    Args:
        values: (B, C, *grid) in [0, 1].
        known: ascending positions per axis, 0 the first.

    Returns:
        (B, C, *positions) of float64.
    """
    rows: list[Tensor] = []
    read: list[np.ndarray] = []
    for start, stop in pairwise(known[0].tolist()):
        total: Tensor | None = None
        # Whole numbers, so many planes at a time as 32 bits can count: the table of a large map would not fit into memory.
        for first in range(start, stop, _PLANES):
            last = min(first + _PLANES, stop)
            part = values[:, :, first:last] if isinstance(values, Tensor) else values.planes(first, last)
            sums = (part.detach() * _QUANTUM).round().to(torch.int32).sum(2, dtype=torch.int32).double()
            total = sums if total is None else total.add_(sums)
        assert total is not None
        if isinstance(values, Tensor):
            rows.append(total)
        else:
            read.append(_at_places(total, known[1:], axis=2))
    # A map in memory goes to the CPU at once: an accelerator is waited for once.
    found = _at_places(torch.stack(rows, dim=2), known[1:], axis=3) if rows else np.stack(read, axis=2)
    return np.cumsum(np.concatenate([np.zeros_like(found[:, :, :1]), found], axis=2), axis=2) / _QUANTUM


def _at_places(sums: Tensor, known: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Running sums along the axes from one on, at some positions of each."""
    table: np.ndarray = sums.cpu().numpy()
    for places in known:
        running = np.cumsum(table, axis=axis)
        table = np.concatenate([np.zeros_like(running.take([0], axis=axis)), running], axis=axis).take(
            places, axis=axis
        )
        axis += 1
    return table


def _cell_max(values: Tensor, grid: Sequence[int], edges: Sequence[np.ndarray]) -> np.ndarray:
    """Largest value of a map in each cell; a voxel on an edge belongs to both sides."""
    read = values.detach().double().cpu().numpy()
    low = [e[:-1] * n // g for e, n, g in zip(edges, values.shape[2:], grid, strict=True)]
    high = [-(-e[1:] * n // g) for e, n, g in zip(edges, values.shape[2:], grid, strict=True)]
    return box_max(read, low, high)


def _outer(factors: Sequence[np.ndarray]) -> np.ndarray:
    out = factors[0]
    for factor in factors[1:]:
        out = out[..., None] * factor
    return out
