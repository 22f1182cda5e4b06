"""Which windows to refine, best first: a smaller budget's choice is always the beginning of a larger one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_dis.errors import LevelError
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
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the windows of one image.

    Args:
        scores: scores of all candidates, from `score_windows`.
        image: index in the batch.
        limit: largest number of windows; None for all.
        min_score: stop at the first choice that scores below; for ``"coverage"`` what counts is the score of what is
            not covered yet.
        selection: ``"ranked"``: the best scores as they are. ``"coverage"``: greedy; each choice takes the uncertainty
            that it covers from the other candidates, which comes within ``1 - 1/e`` of the best coverage there is. Ties
            go to the lower index.

    Returns:
        Candidate indices (K,) of int64, best first, and the score (K,) of float32 that each had when it was chosen.

    Raises:
        LevelError: when ``selection`` is unknown.
    """
    most = scores.score[image].size if limit is None else min(limit, scores.score[image].size)
    if most == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    if selection == "ranked":
        return _ranked(scores.score[image].reshape(-1), most, min_score)
    if selection == "coverage":
        return _coverage(scores, image, most, min_score)
    raise LevelError(f"selection must be one of coverage, ranked, got {selection!r}.")


def _ranked(score: np.ndarray, most: int, min_score: float | None) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-score, kind="stable")[:most]
    if min_score is not None:
        order = order[score[order] >= min_score]
    return order.astype(np.int64), score[order]


def _coverage(scores: WindowScores, image: int, most: int, min_score: float | None) -> tuple[np.ndarray, np.ndarray]:
    gain = scores.score[image].copy()
    flat = gain.reshape(-1)
    cells = scores.cells[image].copy()
    chosen: list[int] = []
    gains: list[float] = []
    taken = np.zeros(flat.size, dtype=bool)
    while len(chosen) < most:
        best = int(flat.argmax())
        if not flat[best] > 0 or (min_score is not None and flat[best] < min_score):
            break
        chosen.append(best)
        gains.append(float(flat[best]))
        taken[best] = True
        _take(scores, image, np.unravel_index(best, gain.shape), cells, gain, taken.reshape(gain.shape))
    if len(chosen) < most and (min_score is None or min_score <= 0):
        rest = np.flatnonzero(~taken)
        rest = rest[np.argsort(-scores.score[image].reshape(-1)[rest], kind="stable")][: most - len(chosen)]
        chosen.extend(int(r) for r in rest)
        gains.extend(0.0 for _ in rest)
    return np.asarray(chosen, dtype=np.int64), np.asarray(gains, dtype=np.float32)


def _take(
    scores: WindowScores, image: int, choice: Sequence[Any], cells: np.ndarray, gain: np.ndarray, taken: np.ndarray
) -> None:
    """Empty the cells of a chosen window and score its neighbours again, in place; nobody else is touched."""
    layout = scores.layout
    block, part, low, high = [], [], [], []
    for first, last, index in zip(layout.low, layout.high, choice, strict=True):
        near = np.flatnonzero((first < last[index]) & (last > first[index]))
        block.append(slice(int(near[0]), int(near[-1]) + 1))
        start = int(first[near].min())
        part.append(slice(start, int(last[near].max())))
        low.append(first[block[-1]] - start)
        high.append(last[block[-1]] - start)
    cells[tuple(slice(int(f[i]), int(h[i])) for f, h, i in zip(layout.low, layout.high, choice, strict=True))] = 0.0
    where, around = tuple(block), cells[tuple(part)]
    if scores.reduce == "max":
        left = box_max(around, low, high)
    else:
        left = box_sums(around, low, high)
        left[left < _NOTHING] = 0.0
        left = left / scores.norm[where]
        if scores.reduce == "share":
            left = left * scores.score[image][where]
    # Candidates chosen before stay out of the race.
    gain[where] = np.where(taken[where], np.float32(-1), left.astype(np.float32))
