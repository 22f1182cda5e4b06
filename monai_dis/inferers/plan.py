"""The plan of a run: levels resolved for one image size, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.budget import Budget
from monai_dis.inferers.expected_gain import ExpectedGain
from monai_dis.inferers.level import Level
from monai_dis.inferers.windows import WindowGrid, full_roi, window_grid

__all__ = ["Settings", "SparsePlan", "plan_sparse_levels"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an inferer was told, checked; see `monai_dis.inferers.IterativeInferer` for the meaning."""

    levels: tuple[Level, ...]
    budget: Budget = field(default_factory=Budget)
    roi_size: Sequence[int | None] | int
    sw_batch_size: int = 1
    overlap: float | Sequence[float] = 0.25
    mode: str = "constant"
    sigma_scale: float | Sequence[float] = 0.125
    padding_mode: str = "constant"
    cval: float = 0.0
    sw_device: torch.device | str | None = None
    device: torch.device | str | None = None
    progress: bool = False
    activation: str | None = None
    score: str = "entropy"
    aggregate: str = "mean"
    selection: str = "coverage"
    merge: str = "blend"
    exploration: float = 0.0
    output: str = "logits"


@dataclass(frozen=True)
class SparsePlan:
    """One sparse level, resolved.

    Args:
        index: number of the level, 1 or above.
        windows: its candidates on its grid.
        halo: voxels of context per axis.
        mode: average of overlapping windows.
        selection: how windows are chosen.
        score: how they are scored.
        aggregate: how uncertainty adds up over a window.
        merge: how they meet the level below.
        exploration: share of them that go by lost detail.
        budget: limit of this level alone.
        expected_gain: what scores promise.
        sw_batch_size: windows per call.
    """

    index: int
    windows: WindowGrid
    halo: tuple[int, ...]
    mode: str
    selection: str
    score: str
    aggregate: str
    merge: str
    exploration: float
    budget: Budget
    expected_gain: ExpectedGain
    sw_batch_size: int

    @property
    def read_size(self) -> tuple[int, ...]:
        """Size of what the network is given: window and halo."""
        return tuple(r + 2 * h for r, h in zip(self.windows.roi, self.halo, strict=True))

    def lowest_score(self, budget: Budget) -> float | None:
        """The score below which neither the run's budget nor the level's own refines a window."""
        budgets = (budget, self.budget)
        floors = [b.min_score for b in budgets if b.min_score is not None]
        floors += [self.expected_gain.lowest_score(b.min_gain) for b in budgets if b.min_gain is not None]
        return max(floors) if floors else None

    def score_grid(self, below: Sequence[int]) -> tuple[int, ...]:
        """Grid on which the uncertainty of the level below is computed.

        Twice the level below, so that boundaries between its voxels show, and never above this level; the poster's
        score is a mean of probabilities, for which the level below is enough, and an expected gain is given there.
        """
        factor = 1 if self.score in ("poster", "gain") else 2
        return tuple(min(g, factor * b) for g, b in zip(self.windows.grid, below, strict=True))


def plan_sparse_levels(settings: Settings, image: Tensor) -> tuple[SparsePlan, ...]:
    """Resolve the sparse levels for an image (B, Ci, *spatial).

    Raises:
        LevelError: when a level is coarser than the one below, or numbers do not fit the image's axes.
    """
    dims = image.ndim - 2
    below = settings.levels[0].grid_of(image)
    plans = []
    for index, level in enumerate(settings.levels[1:], start=1):
        grid = level.grid_of(image)
        if any(g < b for g, b in zip(grid, below, strict=True)):
            raise LevelError(f"levels go from coarse to fine, but level {index} has grid {grid} after {below}.")
        roi = full_roi(_own(level.roi_size, settings.roi_size), grid)
        score, aggregate = _own(level.score, settings.score), _own(level.aggregate, settings.aggregate)
        limits = (settings.budget, Budget.of(level.budget))
        if aggregate != "mean" and level.expected_gain is None and any(b.min_gain is not None for b in limits):
            raise LevelError(
                f"what a window gains cannot be told from the {aggregate} of its uncertainty; use the aggregate mean, or give "
                f"level {index} an expected_gain."
            )
        plans.append(
            SparsePlan(
                index=index,
                windows=window_grid(grid, roi, _own(level.overlap, settings.overlap)),
                halo=_per_axis(level.halo, dims),
                mode=_own(level.mode, settings.mode),
                selection=_own(level.selection, settings.selection),
                score=score,
                aggregate=aggregate,
                merge=_own(level.merge, settings.merge),
                exploration=_own(level.exploration, settings.exploration),
                budget=limits[1],
                expected_gain=_own(level.expected_gain, ExpectedGain.at_best(score)),
                sw_batch_size=_own(level.sw_batch_size, settings.sw_batch_size),
            )
        )
        below = grid
    return tuple(plans)


def _own(value: Any, default: Any) -> Any:
    return default if value is None else value


def _per_axis(halo: int | Sequence[int], dims: int) -> tuple[int, ...]:
    halos = (halo,) * dims if isinstance(halo, int) else tuple(int(h) for h in halo)
    if len(halos) != dims:
        raise LevelError(f"halo {halos} has {len(halos)} entries, the image has {dims} spatial axes.")
    return halos
