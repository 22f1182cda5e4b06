"""How much refinement a run may buy, and how many windows that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Literal

from monai_dis.errors import BudgetError

__all__ = ["Budget", "Spending", "WindowCost", "affordable_windows"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one run, per image; the first that binds ends the refinement. No limit at all means everywhere.

    The budget is filled coarse to fine: the first sparse level takes what it wants, the next what is left.

    Args:
        windows: number of windows per image, all sparse levels together.
        coverage: share of the image's area that windows may cover, in [0, 1]: the sum of their areas, overlaps counted
            each time; 1 or more is no limit.
        operations: share of one full pass of the finest refine network over the image at full resolution without
            overlap; the coarse pass is paid from it too. May exceed 1 (overlapping windows cost more than one pass).
        sliding_window: the same as a share of the operations of MONAI's sliding window at overlap 0.5.
        min_score: windows scoring below are not refined; a higher score is more uncertain, from 0 to 1 (means and largest
            values), 0 to 0.5 (the poster's score) or 0 to the number of voxels (sums).
        min_gain: windows that are expected to gain less are not refined, see `monai_dis.inferers.ExpectedGain`. An easy image
            then costs little and a hard one more. ``"auto"``: each level's own floor.

    Raises:
        BudgetError: when a limit is negative or not a number.

    Example:
        >>> Budget(operations=0.1).is_everywhere
        False
    """

    windows: int | None = None
    coverage: float | None = None
    operations: float | None = None
    min_score: float | None = None
    min_gain: float | Literal["auto"] | None = None
    sliding_window: float | None = None

    def __post_init__(self) -> None:
        if self.windows is not None:
            if isinstance(self.windows, bool) or int(self.windows) != self.windows or self.windows < 0:
                raise BudgetError(f"budget windows must be a whole number of 0 or more, got {self.windows!r}.")
            object.__setattr__(self, "windows", int(self.windows))
        for name in ("coverage", "operations", "sliding_window", "min_score", "min_gain"):
            value = getattr(self, name)
            if value is None or (name == "min_gain" and value == "auto"):
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
                raise BudgetError(f"budget {name} must be a finite number of 0 or more, got {value!r}.")
        if self.coverage is not None and self.coverage > 1:
            raise BudgetError(f"budget coverage is a share of the area and must lie in [0, 1], got {self.coverage!r}.")

    @classmethod
    def everywhere(cls) -> Budget:
        """The budget without a limit: every candidate window of every sparse level."""
        return cls()

    @classmethod
    def auto(cls) -> Budget:
        """The budget ``"auto"``: as long as windows are expected to gain what their level calls worth it."""
        return cls(min_gain="auto")

    @classmethod
    def of(cls, budget: Budget | Mapping[str, float | None] | str | None) -> Budget:
        """Read a budget from a config entry: a `Budget`, a mapping of its fields, ``"auto"``, or None for everywhere.

        Raises:
            BudgetError: when a name is unknown or a value is out of range.
        """
        if budget is None:
            return cls()
        if isinstance(budget, Budget):
            return budget
        if budget == "auto":
            return cls.auto()
        if not isinstance(budget, Mapping):
            raise BudgetError(f"budget must be a Budget, a mapping, 'auto' or None, got {budget!r}.")
        names = [f.name for f in fields(cls)]
        unknown = sorted(set(budget) - set(names))
        if unknown:
            raise BudgetError(f"budget has no entry {unknown[0]!r}; choose among {', '.join(names)}.")
        return cls(**budget)  # type: ignore[arg-type]

    @classmethod
    def of_share(cls, share: float | str) -> Budget:
        """The budget of a share of one full pass, or ``"auto"``.

        Raises:
            BudgetError: when it is neither.
        """
        return cls.auto() if share == "auto" else cls(operations=share)  # type: ignore[arg-type]

    @property
    def counts_operations(self) -> bool:
        """Whether a limit is one of operations, so that networks have to be counted."""
        return self.operations is not None or self.sliding_window is not None

    @property
    def is_everywhere(self) -> bool:
        """Whether nothing limits the run."""
        return self == Budget() or (self.coverage is not None and self == Budget(coverage=1.0))


@dataclass(frozen=True)
class WindowCost:
    """What one window of a level costs, and what shares refer to.

    Args:
        share: share of the image's area.
        operations: multiply-accumulates of the refine network on it.
        full_pass: multiply-accumulates of one full pass of the finest refine network, per image.
        sliding_window: multiply-accumulates of its sliding window at overlap 0.5, per image.
    """

    share: float
    operations: float = 0.0
    full_pass: float = 0.0
    sliding_window: float = 0.0


@dataclass(frozen=True)
class Spending:
    """What one image has cost so far: windows, summed share of the area, operations (coarse pass included)."""

    windows: int = 0
    share: float = 0.0
    operations: float = 0.0

    def plus(self, windows: int, cost: WindowCost) -> Spending:
        """The spending after ``windows`` more windows of one level."""
        return Spending(
            self.windows + windows, self.share + windows * cost.share, self.operations + windows * cost.operations
        )

    def plus_operations(self, operations: float) -> Spending:
        """The spending after operations that refine no window, such as scoring them."""
        return Spending(self.windows, self.share, self.operations + operations)


def affordable_windows(budget: Budget, spent: Spending, cost: WindowCost) -> int | None:
    """How many more windows of a level an image may have; None when no limit binds.

    Args:
        budget: the limits; ``min_score`` is the selection's affair.
        spent: what the image has cost already.
        cost: price of one window of the level at hand.

    Example:
        >>> affordable_windows(Budget(coverage=0.5), Spending(), WindowCost(share=0.0625))
        8
    """
    limits: list[int] = []
    if budget.windows is not None:
        limits.append(budget.windows - spent.windows)
    if budget.coverage is not None and budget.coverage < 1:
        limits.append(_whole(budget.coverage - spent.share, cost.share, budget.coverage))
    for asked, whole in ((budget.operations, cost.full_pass), (budget.sliding_window, cost.sliding_window)):
        if asked is None:
            continue
        total = asked * whole
        if spent.operations > total:
            limits.append(0)
        elif cost.operations > 0:
            limits.append(_whole(total - spent.operations, cost.operations, total))
    return max(0, min(limits)) if limits else None


def _whole(left: float, price: float, total: float) -> int:
    """Whole windows in what is left; a rounding error of the share (0.3 * 10 = 2.9999...) does not lose one."""
    return math.floor((left + 1e-9 * total) / price)
