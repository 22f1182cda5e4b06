"""What refining a window is expected to gain, read off its score: the yardstick of the budget ``"auto"``.

Gain is the part of the squared error ``(p - truth) ** 2``, averaged over the window, that refinement takes away: 0.01 means that one
voxel in a hundred goes from wholly wrong to right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from monai_dis.errors import LevelError

__all__ = ["ExpectedGain"]


@dataclass(frozen=True)
class ExpectedGain:
    """A curve from score to expected gain, linear between its points and level beyond them.

    Args:
        scores: ascending scores of windows.
        gains: expected gain at each of them, never falling; negative where refinement is expected to do harm.
        floor: the least gain that the budget ``"auto"`` pays for; one voxel in 500 when nothing is known of the task.

    Raises:
        LevelError: when the two differ in length, are empty, or are not in order.

    Example:
        >>> curve = ExpectedGain(scores=(0.0, 0.5), gains=(0.0, 0.1))
        >>> curve.of(0.25), curve.lowest_score(0.05)
        (0.05, 0.25)
    """

    scores: Sequence[float]
    gains: Sequence[float]
    floor: float = 0.002

    def __post_init__(self) -> None:
        scores, gains = (tuple(float(v) for v in values) for values in (self.scores, self.gains))
        if len(scores) != len(gains) or not scores:
            raise LevelError(f"expected_gain needs as many scores as gains, got {len(scores)} and {len(gains)}.")
        if not np.isfinite(scores + gains).all() or (np.diff(scores) <= 0).any() or (np.diff(gains) < 0).any():
            raise LevelError(
                "expected_gain needs ascending scores and gains that never fall; fit them with fit_expected_gain."
            )
        number = isinstance(self.floor, (int, float, np.number)) and not isinstance(self.floor, bool)
        if not number or not np.isfinite(self.floor) or self.floor < 0:
            raise LevelError(f"the floor of expected_gain must be a finite number of 0 or more, got {self.floor!r}.")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "gains", gains)

    @classmethod
    def of_entry(cls, entry: ExpectedGain | Mapping[str, Any]) -> ExpectedGain:
        """Read a curve from a config entry, a mapping of ``scores``, ``gains`` and, where it has one, ``floor``.

        Raises:
            LevelError: when it is neither, or out of order.
        """
        if isinstance(entry, ExpectedGain):
            return entry
        if not isinstance(entry, Mapping) or set(entry) - {"floor"} != {"scores", "gains"}:
            raise LevelError(f"expected_gain must be a mapping of scores, gains and perhaps a floor, got {entry!r}.")
        return cls(**entry)

    @classmethod
    def at_best(cls, score: str) -> ExpectedGain:
        """What a level expects that was told nothing: that refinement takes away all the error there may be.

        Half the uncertainty, which for two classes is the error of a calibrated answer (least confidence, margin) or no less
        than it (entropy; M. Hellman, J. Raviv, 1970); a gain is expected as the scorer says it.
        """
        return cls((0.0, 1.0), (0.0, 1.0 if score in ("gain", "poster") else 0.5))

    def of(self, score: float) -> float:
        """Expected gain of a window."""
        return float(np.interp(score, self.scores, self.gains))

    def lowest_score(self, gain: float | Literal["auto"]) -> float:
        """The lowest score from which on a gain is expected, ``"auto"`` for the floor; infinite when no score promises it."""
        if gain == "auto":
            gain = self.floor
        if gain > self.gains[-1]:
            return float("inf")
        if gain <= self.gains[0]:
            return 0.0
        above = int(np.searchsorted(self.gains, gain, side="left"))
        (low, high), (less, more) = self.scores[above - 1 : above + 1], self.gains[above - 1 : above + 1]
        return float(low + (high - low) * (gain - less) / (more - less))
