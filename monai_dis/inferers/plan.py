"""The plan of a run: levels resolved for one image size, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.budget import Budget
from monai_dis.inferers.expected_gain import ExpectedGain
from monai_dis.inferers.grid import per_axis
from monai_dis.inferers.level import Level
from monai_dis.inferers.windows import WindowGrid, full_roi, window_grid

__all__ = ["Settings", "SparsePlan", "dense_windows", "plan_sparse_levels"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an inferer was told, checked; see `monai_dis.inferers.IterativeInferer` for the meaning."""

    levels: tuple[Level, ...]
    budget: Budget = field(default_factory=Budget)
    roi_size: Sequence[int | None] | int
    sw_batch_size: int | None = 1
    overlap: float | Sequence[float] = 0.25
    mode: str = "constant"
    sigma_scale: float | Sequence[float] = 0.125
    padding_mode: str = "constant"
    cval: float = 0.0
    sw_device: torch.device | str | None = None
    device: torch.device | str | None = None
    progress: bool = False
    cpu_thresh: int | None = None
    buffer_steps: int | None = None
    buffer_dim: int = -1
    with_coord: bool = False
    roi_weight_map: Tensor | None = None
    process_fn: Callable[..., Any] | None = None
    activation: str | None = None
    score: str = "entropy"
    aggregate: str = "mean"
    selection: str = "coverage"
    merge: str = "blend"
    exploration: float = 0.0
    output: str = "logits"
    autocast: str | None = None
    # where the inferer widens the overlap that it was given
    given_overlap: float | Sequence[float] | None = None

    @property
    def callers_overlap(self) -> float | Sequence[float]:
        """The overlap that the caller gave."""
        return self.overlap if self.given_overlap is None else self.given_overlap


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
        sw_batch_size: windows per call; None finds a number.
        done: candidates that level 0 ran already, where this level is averaged with it.
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
    sw_batch_size: int | None
    done: tuple[int, ...] = ()

    @property
    def cell_parts(self) -> int:
        """How finely a window is cut for its selection, see `monai_dis.inferers.score.cell_layout`."""
        return 8 if self.selection == "depth" else 1

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


def dense_windows(settings: Settings, grid: Sequence[int]) -> WindowGrid | None:
    """The windows of level 0 on its grid; None where it is one pass."""
    level = settings.levels[0]
    if level.roi_size is None:
        return None
    return window_grid(grid, full_roi(level.roi_size, grid), _own(level.overlap, settings.overlap))


def plan_sparse_levels(settings: Settings, image: Tensor) -> tuple[SparsePlan, ...]:
    """Resolve the sparse levels for an image (B, Ci, *spatial).

    Raises:
        LevelError: when a level is coarser than the one below, or numbers do not fit the image's axes.
    """
    dims = image.ndim - 2
    below = settings.levels[0].grid_of(image)
    dense = dense_windows(settings, below)
    plans: list[SparsePlan] = []
    for index, level in enumerate(settings.levels[1:], start=1):
        grid = level.grid_of(image)
        if any(g < b for g, b in zip(grid, below, strict=True)):
            raise LevelError(f"levels go from coarse to fine, but level {index} has grid {grid} after {below}.")
        roi = full_roi(_own(level.roi_size, settings.roi_size), grid)
        score = _own(level.score, settings.score)
        windows = window_grid(grid, roi, _own(level.overlap, settings.overlap))
        averaged = _own(level.merge, settings.merge) == "average"
        if averaged and (index > 1 or dense is None or dense.grid != grid):
            raise LevelError(
                f"level {index} is to be averaged with the level below, which must be level 0 in windows (with a roi_size "
                "of its own) on the same grid; choose another merge, or give level 0 the same scale and a roi_size."
            )
        plans.append(
            SparsePlan(
                index=index,
                windows=windows,
                halo=_halo(level.halo, dims),
                mode=_own(level.mode, settings.mode),
                selection=_own(level.selection, settings.selection),
                score=score,
                aggregate=_own(level.aggregate, settings.aggregate),
                merge=_own(level.merge, settings.merge),
                exploration=_own(level.exploration, settings.exploration),
                budget=Budget.of(level.budget),
                expected_gain=_own(level.expected_gain, ExpectedGain.at_best(score)),
                sw_batch_size=_own(level.sw_batch_size, settings.sw_batch_size),
                done=_common(windows, dense) if averaged and dense is not None else (),
            )
        )
        _check_scores(plans[-1], settings.budget, level)
        below = grid
    return tuple(plans)


def _check_scores(plan: SparsePlan, budget: Budget, level: Level) -> None:
    """Refuse a selection or a floor that the windows' scores cannot serve."""
    if plan.selection == "depth" and (plan.score == "poster" or plan.aggregate == "max"):
        raise LevelError(
            "selection 'depth' adds up the uncertainty of voxels, so it goes neither with score 'poster' nor with "
            "aggregate 'max'; use the score 'entropy' and the aggregate 'mean'."
        )
    floors = [b.min_gain for b in (budget, plan.budget) if b.min_gain is not None]
    if floors and plan.aggregate != "mean" and level.expected_gain is None:
        raise LevelError(
            f"what a window gains cannot be told from the {plan.aggregate} of its uncertainty; use the aggregate mean, or give "
            f"level {plan.index} an expected_gain."
        )


def _common(windows: WindowGrid, dense: WindowGrid) -> tuple[int, ...]:
    """Candidates that are windows of level 0 too."""
    if windows.roi != dense.roi:
        return ()
    shared = [np.flatnonzero(np.isin(own, other)) for own, other in zip(windows.starts, dense.starts, strict=True)]
    return tuple(int(i) for i in np.ravel_multi_index(np.meshgrid(*shared, indexing="ij"), windows.shape).ravel())


def _own(value: Any, default: Any) -> Any:
    return default if value is None else value


def _halo(halo: int | Sequence[int], dims: int) -> tuple[int, ...]:
    halos = tuple(int(h) for h in per_axis(halo, dims))
    if len(halos) != dims:
        raise LevelError(f"halo {halos} has {len(halos)} entries, the image has {dims} spatial axes.")
    return halos
