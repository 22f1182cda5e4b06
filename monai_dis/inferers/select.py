"""Which windows to refine, best first: a smaller budget's choice is always the beginning of a larger one's."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np

from monai_dis.errors import LevelError
from monai_dis.inferers.depth import DepthRace
from monai_dis.inferers.score import WindowScores, box_max, box_sums

__all__ = ["select_windows"]

# Less than this much of one voxel's uncertainty is rounding.
_NOTHING = 1e-10


def select_windows(
    scores: WindowScores,
    image: int,
    *,
    limit: int | None = None,
    min_score: float | None = None,
    selection: str = "coverage",
    explore: WindowScores | None = None,
    exploration: float = 0.0,
    done: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the windows of one image.

    Args:
        scores: scores of all candidates, from `score_windows`.
        image: index in the batch.
        limit: largest number of windows; None for all.
        min_score: stop at the first choice that scores below; for ``"coverage"`` what counts is the score of what is
            not covered yet.
        selection: ``"ranked"``: the best scores as they are. ``"coverage"``: greedy; each choice takes the uncertainty
            that it covers from the other candidates, which comes within ``1 - 1/e`` of the best coverage there is.
            ``"depth"``: greedy; each choice is worth the uncertainty that it brings deeper into a window, see
            `monai_dis.inferers.depth`. Ties go to the lower index.
        explore: a second opinion on the same candidates, for ground where ``scores`` may be wrong.
        exploration: share of the choices that go by ``explore``, spread evenly over the order.
        done: candidates that ran before; they are not chosen.

    Returns:
        Candidate indices (K,) of int64, best first, and the score (K,) of float32 that each had when it was chosen, by
        ``scores`` or, for a choice that explores, by ``explore``.

    Raises:
        LevelError: when ``selection`` is unknown.
    """
    if selection not in ("coverage", "ranked", "depth"):
        raise LevelError(f"selection must be one of coverage, ranked, depth, got {selection!r}.")
    most = scores.score[image].size - len(done)
    most = most if limit is None else min(limit, most)
    race = _race(scores, image, selection, done)
    other = _race(explore, image, selection, done) if explore is not None and exploration > 0 else None
    chosen: list[int] = []
    gains: list[float] = []
    while len(chosen) < most:
        explores = other is not None and floor((len(chosen) + 1) * exploration) > floor(len(chosen) * exploration)
        if other is not None and explores:
            best, gain = other.best()
        else:
            best, gain = race.best()
            if min_score is not None and gain < min_score:
                break
        chosen.append(best)
        gains.append(gain)
        race.take(best)
        if other is not None:
            other.take(best)
    return np.asarray(chosen, dtype=np.int64), np.asarray(gains, dtype=np.float32)


def _race(scores: WindowScores, image: int, selection: str, done: Sequence[int]) -> _Race | DepthRace:
    return DepthRace(scores, image, done) if selection == "depth" else _Race(scores, image, selection, done)


class _Race:
    """The candidates of one image that are still to be had, and what each would gain now."""

    def __init__(self, scores: WindowScores, image: int, selection: str, done: Sequence[int] = ()) -> None:
        self._scores = scores
        self._score = scores.score[image]
        self._covers = selection == "coverage"
        self._gain = self._score.copy()
        self._cells = scores.cells[image].copy() if self._covers else scores.cells[image]
        self._taken = np.zeros(self._score.shape, dtype=bool)
        self._rest: list[int] | None = None
        for index in done:
            self.take(index)

    def best(self) -> tuple[int, float]:
        """The best candidate and its gain; once nothing is left to gain, the best score and no gain."""
        if self._rest is None:
            flat = self._gain.reshape(-1)
            best = int(flat.argmax())
            if flat[best] > 0 or (not self._covers and not self._taken.reshape(-1)[best]):
                return best, float(flat[best])
            left = np.flatnonzero(~self._taken)
            self._rest = left[np.argsort(-self._score.reshape(-1)[left], kind="stable")][::-1].tolist()
        return self._rest[-1], 0.0

    def take(self, index: int) -> None:
        """Take a candidate out of the race, and what it covers from its neighbours."""
        where = np.unravel_index(index, self._gain.shape)
        self._taken[where] = True
        self._gain[where] = -1.0
        if self._rest is not None:
            if self._rest[-1] == index:
                self._rest.pop()
            else:
                self._rest.remove(index)
        elif self._covers:
            self._cover(where)

    def _cover(self, choice: Sequence[Any]) -> None:
        """Empty the cells of a chosen window and score its neighbours again; nobody else is touched."""
        scores, layout = self._scores, self._scores.layout
        block, part, low, high = [], [], [], []
        for first, last, index in zip(layout.low, layout.high, choice, strict=True):
            near = np.flatnonzero((first < last[index]) & (last > first[index]))
            block.append(slice(int(near[0]), int(near[-1]) + 1))
            start = int(first[near].min())
            part.append(slice(start, int(last[near].max())))
            low.append(first[block[-1]] - start)
            high.append(last[block[-1]] - start)
        own = (slice(int(f[i]), int(h[i])) for f, h, i in zip(layout.low, layout.high, choice, strict=True))
        self._cells[tuple(own)] = 0.0
        where, around = tuple(block), self._cells[tuple(part)]
        if scores.reduce == "max":
            left = box_max(around, low, high)
        else:
            left = box_sums(around, low, high)
            left[left < _NOTHING] = 0.0
            left = left / scores.norm[where]
            if scores.reduce == "share":
                left = left * self._score[where]
        # Candidates chosen before stay out of the race.
        self._gain[where] = np.where(self._taken[where], np.float32(-1), left.astype(np.float32))
