"""The selection ``"depth"``: uncertain ground wants to lie deep inside a window, not at its border.

A network sees least of what is around a voxel at the border of its window. A sliding window with overlap 0.5 gives every
voxel a window in which it lies a quarter of the window's width or more from the border; choosing windows by depth does
the same, where the answer is uncertain, and nowhere else. Windows that ran before count: after a pass without overlap
the best choices are windows across its borders.

Letters in shapes: ``*cells`` and ``*starts`` see `monai_dis.inferers.score.WindowScores`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from monai_dis.inferers.score import CellLayout, WindowScores

__all__ = ["DepthRace", "axis_depth"]

Place = Sequence[Any]
"""A candidate: its start position per axis, as an index of Python or numpy."""

# In some window at its very border, against in no window at all: half of what a place deep inside is worth.
_AT_BORDER = 0.5
# Less than this share of a voxel's uncertainty is rounding.
_NOTHING = 1e-10


def axis_depth(layout: CellLayout, axis: int) -> list[np.ndarray]:
    """How deep each cell lies in each window along one axis: 0 at the border, 1 from a quarter of the window on.

    The image's own border is no border: no window could show what lies beyond it.

    Args:
        layout: the cells.
        axis: spatial axis.

    Returns:
        For every start position the depth of the window's cells.

    Example:
        >>> edges = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16])
        >>> layout = CellLayout((edges,), (np.array([0, 2, 4]),), (np.array([4, 6, 8]),))
        >>> [d.tolist() for d in axis_depth(layout, 0)]
        [[1.0, 1.0, 1.0, 0.5], [0.5, 1.0, 1.0, 0.5], [0.5, 1.0, 1.0, 1.0]]
    """
    edges = layout.edges[axis]
    middles, size = (edges[:-1] + edges[1:]) / 2, edges[-1]
    depths = []
    for low, high in zip(layout.low[axis], layout.high[axis], strict=True):
        start, stop = edges[low], edges[high]
        inside = middles[low:high]
        before = inside - start if start > 0 else np.full(len(inside), np.inf)
        after = stop - inside if stop < size else np.full(len(inside), np.inf)
        depths.append(np.minimum(1.0, np.minimum(before, after) / ((stop - start) / 4)))
    return depths


class DepthRace:
    """The candidates of one image that are still to be had, and how much uncertainty each would bring nearer its middle.

    Greedy choices come within ``1 - 1/e`` of the best set, as for coverage: what a window adds only shrinks with every
    window chosen before it.

    Args:
        scores: of `monai_dis.inferers.score.score_windows`, with summed cells.
        image: index in the batch.
        done: candidates that ran before; they cannot be chosen.
    """

    def __init__(self, scores: WindowScores, image: int, done: Sequence[int] = ()) -> None:
        self._layout = scores.layout
        self._cells = scores.cells[image]
        self._norm = np.broadcast_to(scores.norm, scores.score[image].shape)
        self._score = scores.score[image].reshape(-1)
        self._shape = scores.score[image].shape
        self._axes = [axis_depth(self._layout, axis) for axis in range(len(self._shape))]
        self._depth = np.zeros_like(self._cells)
        self._taken = np.zeros(self._shape, dtype=bool)
        self._rest: list[int] | None = None
        for index in done:
            where = np.unravel_index(index, self._shape)
            self._taken[where] = True
            self._deepen(where)
        self._gain = np.full(self._shape, -1.0)
        self._update(tuple(range(n)) for n in self._shape)

    def best(self) -> tuple[int, float]:
        """The best candidate and its gain; once nothing is left to gain, the best score and no gain."""
        if self._rest is None:
            best = int(self._gain.argmax())
            gain = float(self._gain.reshape(-1)[best])
            if gain > 0:
                return best, gain
            left = np.flatnonzero(~self._taken)
            self._rest = left[np.argsort(-self._score[left], kind="stable")][::-1].tolist()
        return self._rest[-1], 0.0

    def take(self, index: int) -> None:
        """Take a candidate out of the race, and what it brings from its neighbours."""
        where = np.unravel_index(index, self._shape)
        self._taken[where] = True
        self._gain[where] = -1.0
        if self._rest is not None:
            self._rest.remove(index)
            return
        self._deepen(where)
        near = []
        for first, last, i in zip(self._layout.low, self._layout.high, where, strict=True):
            near.append(tuple(np.flatnonzero((first < last[i]) & (last > first[i])).tolist()))
        self._update(near)

    def _box(self, where: Place) -> tuple[slice, ...]:
        return tuple(
            slice(int(first[i]), int(last[i]))
            for first, last, i in zip(self._layout.low, self._layout.high, where, strict=True)
        )

    def _window_depth(self, where: Place) -> np.ndarray:
        """Worth of lying where the cells of a window lie in it, (*cells of the window)."""
        axes = [depths[i] for depths, i in zip(self._axes, where, strict=True)]
        return _AT_BORDER + (1 - _AT_BORDER) * np.asarray(reduce(np.minimum.outer, axes))

    def _deepen(self, where: Place) -> None:
        box = self._box(where)
        self._depth[box] = np.maximum(self._depth[box], self._window_depth(where))

    def _update(self, near: Iterable[Sequence[int]]) -> None:
        for where in product(*near):
            if self._taken[where]:
                continue
            box = self._box(where)
            deeper = np.clip(self._window_depth(where) - self._depth[box], 0.0, None)
            gain = float((self._cells[box] * deeper).sum())
            self._gain[where] = 0.0 if gain < _NOTHING else np.float32(gain / self._norm[where])
