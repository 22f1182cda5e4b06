"""What the parts of a run cost, in one unit for all of them: multiply-accumulates, or voxels where torch cannot count every network.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from monai_dis.inferers.budget import WindowCost
from monai_dis.inferers.call import NetworkCall
from monai_dis.inferers.gain import Scorer
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.operations import Cost
from monai_dis.inferers.plan import Settings, SparsePlan
from monai_dis.inferers.windows import window_grid

__all__ = ["Counts", "Prices"]


@dataclass(frozen=True)
class Counts:
    """Operations of a run over a batch, see `monai_dis.inferers.statistics.Statistics`."""

    coarse: float = 0
    refine: float = 0
    full_pass: float = 0.0
    sliding_window: float = 0.0
    callers_window: float = 0.0
    unit: str = Cost.OPERATIONS


class Prices:
    """What windows cost; networks are only counted when somebody asks.

    Args:
        image: (B, Ci, *spatial), of which shape, type and device count.
        plans: the sparse levels.
        refiners: their networks.
        scorers: and scorers.
        mosaic: the primary answer.
        settings: of the run.
        coarse: tells what level 0 costs, for the whole batch.
    """

    def __init__(
        self,
        image: Tensor,
        plans: Sequence[SparsePlan],
        refiners: Sequence[NetworkCall],
        scorers: Sequence[Scorer | None],
        mosaic: Mosaic,
        settings: Settings,
        coarse: Callable[[], Cost],
    ) -> None:
        # One voxel stands for the image: a result that waits for its counts must not keep the image in memory.
        self._like = image.new_empty((1, image.shape[1], 1), device=torch.device(settings.sw_device or image.device))
        self._batch, self._size = image.shape[0], tuple(image.shape[2:])
        self._plans, self._refiners, self._scorers, self._coarse = plans, refiners, scorers, coarse
        self._channels = mosaic.channels
        self._below = [mosaic.grid_size(p.index - 1) for p in plans]
        self._overlap = settings.callers_overlap
        budgets = [settings.budget, *[p.budget for p in plans]]
        self.needed = bool(plans) and any(b.counts_operations for b in budgets)

    def unit(self) -> str:
        """The unit in which all that the run may do can be told, as far as is known now: calls tell more."""
        costs = [self._coarse(), *map(self._window, self._plans), *map(self._scoring, self._plans)]
        return Cost.OPERATIONS if all(c.operations is not None for c in costs) else Cost.VOXELS

    def coarse(self, unit: str) -> float:
        """Level 0, for one image."""
        return self._coarse().in_unit(unit) / self._batch

    def scoring(self, plan: SparsePlan, unit: str) -> float:
        """A level's scorer for one image; 0 where it has none."""
        return self._scoring(plan).in_unit(unit)

    def of(self, plan: SparsePlan, unit: str | None) -> WindowCost:
        """The price of one window of a level; operations only where a budget asks for them (there is a unit then)."""
        share = plan.windows.share
        if unit is None:
            return WindowCost(share)
        each = self._window(plan).in_unit(unit)
        return WindowCost(share, each, self._full_pass(unit), self._sliding_window(unit, 0.5))

    def counts(self, coarse: Cost, refined: Sequence[int], scored: Sequence[SparsePlan]) -> Counts:
        """All of a run.

        Args:
            coarse: what level 0 cost, for the batch.
            refined: number of windows of each sparse level, over the batch.
            scored: levels whose scorer ran.
        """
        unit = self.unit()
        cost = sum(self._window(p).in_unit(unit) * n for p, n in zip(self._plans, refined, strict=True))
        cost += self._batch * sum(self.scoring(p, unit) for p in scored)
        first = coarse.in_unit(unit)
        if not self._plans:  # the coarse network stands in, as far as its own pass tells
            return Counts(first, 0, first, first, first, unit)
        return Counts(
            first,
            cost,
            self._batch * self._full_pass(unit),
            self._batch * self._sliding_window(unit, 0.5),
            self._batch * self._sliding_window(unit, self._overlap),
            unit,
        )

    def _window(self, plan: SparsePlan) -> Cost:
        return self._refiners[plan.index - 1].cost(self._like, plan.read_size, self._channels)

    def _scoring(self, plan: SparsePlan) -> Cost:
        scorer = self._scorers[plan.index - 1]
        if scorer is None:
            return Cost(0, 0)
        return scorer.cost(self._like, self._below[plan.index - 1], self._channels)

    def _bare_window(self, unit: str) -> float:
        """A window of the finest level without its halo."""
        plan = self._plans[-1]
        return self._window(plan).in_unit(unit) * prod(plan.windows.roi) / prod(plan.read_size)

    def _sliding_window(self, unit: str, overlap: float | Sequence[float]) -> float:
        return len(window_grid(self._size, self._plans[-1].windows.roi, overlap)) * self._bare_window(unit)

    def _full_pass(self, unit: str) -> float:
        roi = self._plans[-1].windows.roi
        return self._bare_window(unit) * prod(max(1.0, n / r) for n, r in zip(self._size, roi, strict=True))
