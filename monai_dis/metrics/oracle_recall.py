"""How much of the coarse pass's error lies inside the windows that were chosen, and how much could have.

Letters in shapes: ``B`` batch, ``*grid`` a level's grid, ``K`` windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from torch import Tensor

from monai_dis.inferers.score import WindowScores, score_windows
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.windows import WindowGrid

__all__ = ["OracleRecall", "oracle_recall"]


@dataclass(frozen=True)
class OracleRecall:
    """Shares of the error mass of the answer below.

    Attributes:
        chosen: inside the windows that were chosen.
        best: inside as many windows chosen by the error itself, one after the other.
    """

    chosen: float
    best: float

    @property
    def ratio(self) -> float:
        """What the choice reached of what it could; nan where there was no error."""
        return self.chosen / self.best if self.best > 0 else nan


def oracle_recall(error: Tensor, windows: WindowGrid, chosen: Sequence[int]) -> OracleRecall:
    """Compare a choice of windows with the best one of the same number.

    Args:
        error: (1, 1, *grid) error of every voxel of the answer below, on any grid of the field of view, 0 or more.
        windows: the candidates.
        chosen: (K,) indices of those that were chosen.

    Returns:
        the shares; both nan where there is no error.
    """
    total = float(error.double().sum())
    if total <= 0:
        return OracleRecall(nan, nan)
    scores = score_windows(error, None, windows, "sum")
    best, _ = select_windows(scores, 0, limit=len(chosen), selection="coverage")
    mass = float(scores.cells[0].sum())
    return OracleRecall(*(_covered(scores, windows, picks) / mass for picks in (chosen, best.tolist())))


def _covered(scores: WindowScores, windows: WindowGrid, picks: Sequence[int]) -> float:
    layout, cells = scores.layout, scores.cells[0]
    inside = np.zeros(cells.shape, dtype=bool)
    for index in picks:
        where = np.unravel_index(int(index), windows.shape)
        inside[tuple(slice(int(f[i]), int(h[i])) for f, h, i in zip(layout.low, layout.high, where, strict=True))] = (
            True
        )
    return float(cells[inside].sum())
