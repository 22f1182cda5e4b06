"""The ways to run a bundle's network on a prepared image: our levels and windows, a sliding window, the coarse pass alone.

Letters in shapes: ``Ci`` image channels, ``C`` classes, ``*spatial`` the prepared image.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor, nn

from monai_dis.errors import BudgetError, DisError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.batching import windows_at_once
from monai_dis.inferers.call import mixed_precision
from monai_dis.inferers.operations import Cost, count_operations
from monai_dis.inferers.plan import SparsePlan, plan_sparse_levels
from monai_dis.inferers.score import hard_labels
from monai_dis.inferers.stages import stages_of
from monai_dis.inferers.windows import window_grid
from monai_dis.runtimes import calibrating, needs_calibration

__all__ = ["MODES", "Runner", "describe_transform", "make_runner", "run_budget"]

MODES = ("dis", "sliding-window", "coarse")
SLIDING_OVERLAP = 0.5


@dataclass(frozen=True)
class Runner:
    """A network and the way it is run.

    Attributes:
        network: with its weights.
        inferer: what runs it, with its budget.
        mode: one of `MODES`.
        overlap: of a plain sliding window.
        settings: what the result depends on, in plain JSON types.
    """

    network: nn.Module
    inferer: IterativeInferer
    mode: str
    overlap: float = SLIDING_OVERLAP
    settings: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, image: Tensor, *, logits: bool = False) -> tuple[Tensor, dict[str, Any]]:
        """Run on one image.

        Args:
            image: (1, Ci, *spatial).
            logits: whether to give logits even where the inferer's ``output`` are labels.

        Returns:
            logits, or labels where the inferer's ``output`` says so, and the statistics of `monai_dis.inferers.Statistics` as a
            dictionary, with the number of logit channels ``channels``.
        """
        if needs_calibration(self.network):
            # int8 is made from what the networks see in the first image, which is answered after that, as all others are.
            with calibrating(self.network):
                self.inferer.run(image, self.network)
        if self.mode == "sliding-window":
            plan = self._plain_window(image)
            if plan is not None:
                return self._slide(image, plan, logits)
        result = self.inferer.run(image, self.network)
        labels = self.inferer.settings.output == "labels" and not logits
        answer = result.labels() if labels else result.logits()
        start = time.perf_counter()
        statistics = result.statistics.to_dict()
        # Counting operations and measuring what is left uncertain cost time too, and it is booked apart.
        statistics["seconds"]["statistics"] = time.perf_counter() - start
        return answer, {**statistics, "channels": result.mosaic.channels}

    def _plain_window(self, image: Tensor) -> SparsePlan | None:
        """The finest level, when MONAI's own sliding window can run it: full resolution, not conditioned."""
        settings = self.inferer.settings
        plans = plan_sparse_levels(settings, image)
        if not plans or stages_of(self.network, settings.levels).conditioned[-1]:
            return None
        return plans[-1] if plans[-1].windows.grid == tuple(image.shape[2:]) else None

    def _slide(self, image: Tensor, plan: SparsePlan, as_logits: bool) -> tuple[Tensor, dict[str, Any]]:
        settings, roi, size = self.inferer.settings, plan.windows.roi, tuple(image.shape[2:])
        network = stages_of(self.network, settings.levels).refine[-1]
        batch = plan.sw_batch_size or windows_at_once(roi)
        window = SlidingWindowInferer(
            roi, batch, self.overlap, plan.mode, settings.sigma_scale, settings.padding_mode, settings.cval,
            sw_device=settings.sw_device, device=settings.device,
        )  # fmt: skip
        start = time.perf_counter()
        with torch.no_grad(), mixed_precision(settings.autocast, torch.device(settings.sw_device or image.device)):
            logits = window(image, network)
        if image.device.type == "cuda":
            torch.cuda.synchronize(image.device)
        seconds = time.perf_counter() - start
        if isinstance(logits, (tuple, list)):
            logits = logits[0]
        elif isinstance(logits, Mapping):
            logits = next(iter(logits.values()))

        counted = count_operations(network, [image.new_empty((1,)).expand(1, image.shape[1], *roi)])
        each, unit = (math.prod(roi), Cost.VOXELS) if counted is None else (counted, Cost.OPERATIONS)
        count = len(window_grid(size, roi, self.overlap))
        full_pass = each * math.prod(max(1.0, n / r) for n, r in zip(size, roi, strict=True))
        sliding = each * len(window_grid(size, roi, SLIDING_OVERLAP))
        channels = int(logits.shape[1])
        if settings.output == "labels" and not as_logits:
            logits = hard_labels(logits, settings.activation or ("softmax" if channels > 1 else "sigmoid"))
        return logits, {
            "channels": channels,
            "windows": [],
            "windows_refined": count,
            "windows_total": count,
            "operations": count * each,
            "operations_coarse": 0,
            "operations_full_pass": full_pass,
            "operations_sliding_window": sliding,
            "operations_unit": unit,
            "fraction_of_full_pass": count * each / full_pass if full_pass else 0.0,
            "fraction_of_sliding_window": count * each / sliding if sliding else 0.0,
            "seconds": {"refine": seconds},
            "calls": {"refine": -(-count // batch)},
        }


def run_budget(
    inferer: IterativeInferer,
    mode: str,
    *,
    windows: int | None = None,
    coverage: float | None = None,
    operations: float | str | None = None,
) -> Budget:
    """The budget of a run: what is given, else the inferer's own.

    Args:
        inferer: of the bundle.
        mode: one of `MODES`.
        windows: number of windows per image.
        coverage: share of the area.
        operations: share of one full pass, or ``"auto"``: as long as windows are expected to be worth it.

    Raises:
        BudgetError: when a limit is out of range, or given for a mode that has none.
        DisError: when the mode is unknown.
    """
    if mode not in MODES:
        raise DisError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    share = Budget() if operations is None else Budget.of_share(operations)
    given = replace(share, windows=windows, coverage=coverage)
    if mode == "dis":
        return inferer.settings.budget if given == Budget() else given
    if given != Budget():
        raise BudgetError(f"a budget has no meaning for the mode {mode}; leave it out, or use the mode dis.")
    return Budget(windows=0) if mode == "coarse" else Budget.everywhere()


def make_runner(
    network: nn.Module, inferer: IterativeInferer, mode: str, budget: Budget, overlap: float | None = None
) -> Runner:
    """Bring a bundle's inferer to a mode, a budget and an overlap.

    Raises:
        LevelError: when the overlap is out of range.
        DisError: when the mode is unknown.
    """
    if mode not in MODES:
        raise DisError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    levels = inferer.settings.levels
    if mode == "sliding-window":
        overlap = SLIDING_OVERLAP if overlap is None else overlap
        levels = tuple(dataclasses.replace(level, budget=None) for level in levels)
    changes: dict[str, Any] = {"budget": budget, "levels": levels}
    if overlap is not None:
        changes["overlap"] = overlap
        changes["levels"] = (levels[0], *(dataclasses.replace(level, overlap=None) for level in levels[1:]))
    ready = inferer.replaced(**changes)
    settings = {
        key: _plain(value) for key, value in dataclasses.asdict(ready.settings).items() if key not in _INDIFFERENT
    }
    return Runner(network, ready, mode, SLIDING_OVERLAP if overlap is None else overlap, {"inferer": settings})


# Settings that change how a result is computed, and not which (up to rounding).
_INDIFFERENT = ("progress", "sw_batch_size", "sw_device", "device")


def describe_transform(transform: Any) -> Any:
    """A transform and its arguments in plain JSON types, the same in every process, for telling two pipelines apart."""
    members = getattr(transform, "transforms", None)
    if isinstance(members, (list, tuple)):
        return [describe_transform(member) for member in members]
    arguments = {
        key.lstrip("_"): _plain(value)
        for key, value in sorted(vars(transform).items() if hasattr(transform, "__dict__") else ())
        if isinstance(value, (str, int, float, bool, list, tuple)) and not key.startswith("__")
    }
    inner = {
        key: describe_transform(value)
        for key, value in sorted(vars(transform).items() if hasattr(transform, "__dict__") else ())
        if type(value).__module__.startswith(("monai.transforms", "monai_dis."))
        and not isinstance(value, type)
        and key != "transform"
    }
    return {"name": type(transform).__name__, **arguments, **inner}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        # What is left to the default says nothing; a report is also read by people.
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return type(value).__name__
