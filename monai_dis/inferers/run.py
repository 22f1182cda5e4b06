"""The loop over levels: coarse pass, then score, select, gather, refine and merge for every sparse level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_dis.errors import ImageError, NetworkError
from monai_dis.inferers.budget import Spending, WindowCost, affordable_windows
from monai_dis.inferers.call import NetworkCall, check_condition
from monai_dis.inferers.coarse import coarse_pass
from monai_dis.inferers.footprint import Footprint
from monai_dis.inferers.gain import scorers_of
from monai_dis.inferers.grid import resample
from monai_dis.inferers.merge import weight_map
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.operations import CallCosts
from monai_dis.inferers.outputs import Ratio, at_ratio, sized
from monai_dis.inferers.plan import Settings, SparsePlan, plan_sparse_levels
from monai_dis.inferers.prices import Counts, Prices
from monai_dis.inferers.reading import ImageReader
from monai_dis.inferers.refine import refine_windows
from monai_dis.inferers.result import IterativeResult
from monai_dis.inferers.score import WindowScores, lost_detail, probabilities, score_windows
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.stages import stages_of
from monai_dis.inferers.statistics import Stopwatch, WindowRecord

__all__ = ["check_inputs", "level_limit", "run_levels", "score_level", "window_records"]


def run_levels(
    inputs: Tensor, network: Callable[..., Any], settings: Settings, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IterativeResult:
    """Run all levels on a batch of images.

    Args:
        inputs: (B, Ci, *spatial), one to three spatial axes.
        network: see `monai_dis.inferers.stages.stages_of`.
        settings: checked arguments of the inferer.
        args: further arguments of the network.
        kwargs: further keyword arguments of the network.

    Raises:
        ImageError: when the input is not a batch of images.
    """
    check_inputs(inputs)
    plans = plan_sparse_levels(settings, inputs)
    stages = stages_of(network, settings.levels)
    image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
    image = image if image.is_floating_point() else image.float()
    kwargs = dict(kwargs)
    condition = check_condition(kwargs.pop("condition", None), inputs)
    if settings.device is None and settings.cpu_thresh is not None and prod(image.shape[2:]) > settings.cpu_thresh:
        settings = replace(settings, device="cpu")
    costs = CallCosts()
    watch = Stopwatch(cuda=any(d.startswith("cuda") for d in (str(settings.sw_device), str(image.device))))

    with watch.stage("coarse", calls=0):
        first = NetworkCall(
            stages.coarse, False, args, kwargs, settings.with_coord, condition is not None, settings.autocast, costs
        )
        coarse = coarse_pass(image, condition, settings.levels[0].grid_of(inputs), first, settings)
    watch.calls["coarse"] = coarse.calls
    mosaics = [
        _mosaic(output, ratio, coarse.footprint, image, plans, settings)
        for output, ratio in zip(coarse.outputs, coarse.form.ratios, strict=True)
    ]
    refiners = [
        NetworkCall(n, c, args, kwargs, settings.with_coord, condition is not None, settings.autocast, costs)
        for n, c in zip(stages.refine, stages.conditioned, strict=True)
    ]
    scorers = scorers_of(plans, stages.scorers, settings.autocast)
    prices = Prices(image, plans, refiners, scorers, mosaics[0], settings, coarse.cost)
    unit = prices.unit() if prices.needed else None
    spent = [Spending(operations=0.0 if unit is None else prices.coarse(unit))] * image.shape[0]
    records: list[WindowRecord] = []
    score_size = mosaics[0].grid_size(0)
    scored: list[SparsePlan] = []
    smaller = coarse.image  # the image on the last grid that a network saw it on
    for plan, refiner, scorer in zip(plans, refiners, scorers, strict=True):
        cost = prices.of(plan, unit)
        toll = 0.0 if unit is None else prices.scoring(plan, unit)
        limits = [level_limit(settings, plan, s.plus_operations(toll), cost) for s in spent]
        below = mosaics[0].grid_size(plan.index - 1)
        score_size = plan.score_grid(below)
        if all(limit == 0 for limit in limits):
            continue
        with watch.stage("score"), torch.no_grad():
            gain = None
            if scorer is not None:
                seen = smaller if smaller.shape[2:] == below else image
                gain = scorer(seen, mosaics[0].grid(plan.index - 1), settings.sw_device or image.device)
                scored.append(plan)
            scores = score_level(mosaics[0], plan, score_size, gain)
            level_image, explore = None, None
            if plan.exploration > 0:
                level_image = resample(image, plan.windows.grid)
                explore = score_windows(lost_detail(level_image, below), None, plan.windows, parts=plan.cell_parts)
        with watch.stage("select"), torch.no_grad():
            floor = plan.lowest_score(settings.budget)
            picks = [
                select_windows(
                    scores,
                    b,
                    limit=limit,
                    min_score=floor,
                    selection=plan.selection,
                    explore=explore,
                    exploration=plan.exploration,
                    done=plan.done,
                )
                for b, limit in enumerate(limits)
            ]
        spent = [s.plus_operations(toll).plus(len(p[0]), cost) for s, p in zip(spent, picks, strict=True)]
        records.extend(window_records(plan, picks, image.shape[2:]))
        count = sum(len(p[0]) for p in picks)
        with watch.stage("gather", calls=0):
            reader = ImageReader(image, plan, settings, count, level_image)
            extra = None if condition is None else ImageReader(condition, plan, settings, count)
            smaller = reader.on_grid if isinstance(reader.on_grid, Tensor) else smaller
        refine_windows(reader, extra, plan, [p[0] for p in picks], refiner, mosaics, coarse.form, settings, watch)

    # By itself: a result that waits for its counts must not keep the images of the pass in memory.
    coarse_cost = coarse.cost

    def counts() -> Counts:
        refined = [sum(r.level == p.index for r in records) for p in plans]
        return prices.counts(coarse_cost(), refined, scored)

    total = sum(len(p.windows) - len(p.done) for p in plans) * image.shape[0]
    return IterativeResult(mosaics, coarse.form, inputs, tuple(records), total, counts, score_size, watch)


def level_limit(settings: Settings, plan: SparsePlan, spent: Spending, cost: WindowCost) -> int | None:
    """How many windows of a level an image may have; None without a limit.

    The run's budget counts on what is left, the level's own on what the level costs.
    """
    limits = [affordable_windows(settings.budget, spent, cost), affordable_windows(plan.budget, Spending(), cost)]
    known = [n for n in limits if n is not None]
    return min(known) if known else None


def score_level(mosaic: Mosaic, plan: SparsePlan, size: tuple[int, ...], gain: Tensor | None = None) -> WindowScores:
    """Score the candidates of a level on the answer of the level below.

    Args:
        mosaic: the answer so far.
        plan: the level.
        size: grid on which uncertainty is computed.
        gain: (B, 1, *grid) expected gain in place of uncertainty.
    """
    below = plan.index - 1
    if gain is not None:
        return score_windows(gain, None, plan.windows, plan.aggregate, parts=plan.cell_parts)
    if plan.score == "poster":
        p = probabilities(mosaic.on(size, below), mosaic.activation).nan_to_num(nan=0.5)
        return score_windows(None, p, plan.windows)
    unsure = mosaic.uncertainty(plan.score, size=size, level=below)
    return score_windows(unsure, None, plan.windows, plan.aggregate, parts=plan.cell_parts)


def window_records(
    plan: SparsePlan, picks: Sequence[tuple[np.ndarray, np.ndarray]], size: Sequence[int]
) -> list[WindowRecord]:
    """What statistics say of the chosen windows of a level: indices and scores per image, on images of a size."""
    records = []
    grid, roi = plan.windows.grid, plan.windows.roi
    for image, (indices, scores) in enumerate(picks):
        for corner, score in zip(plan.windows.corners[indices].tolist(), scores.tolist(), strict=True):
            start = [max(c, 0) * s // g for c, s, g in zip(corner, size, grid, strict=True)]
            stop = [-(-min(c + r, g) * s // g) for c, r, s, g in zip(corner, roi, size, grid, strict=True)]
            records.append(
                WindowRecord(
                    image=image,
                    level=plan.index,
                    corner=tuple(start),
                    size=tuple(b - a for a, b in zip(start, stop, strict=True)),
                    score=score,
                    grid_corner=tuple(corner),
                    grid_size=roi,
                )
            )
    return records


def _mosaic(
    coarse: Tensor,
    ratio: Ratio,
    footprint: Footprint | None,
    image: Tensor,
    plans: Sequence[SparsePlan],
    settings: Settings,
) -> Mosaic:
    activation = settings.activation or ("softmax" if coarse.shape[1] > 1 else "sigmoid")
    if activation == "softmax" and coarse.shape[1] < 2:
        raise NetworkError("activation 'softmax' needs two channels or more; use 'sigmoid' for a network with one.")
    layers = []
    for plan in plans:
        roi = at_ratio(plan.windows.roi, ratio)
        weight = weight_map(plan.windows.roi, plan.mode, settings.sigma_scale, settings.roi_weight_map, coarse)
        layers.append(Layer(at_ratio(plan.windows.grid, ratio), roi, plan.merge, sized(weight, roi)))
    if footprint is not None and ratio is not None:
        corners = np.asarray([at_ratio(corner, ratio) for corner in footprint.corners.tolist()])
        footprint = Footprint(corners, sized(footprint.importance, at_ratio(footprint.importance.shape, ratio)))
    return Mosaic(coarse, at_ratio(image.shape[2:], ratio), activation, layers, footprint)


def check_inputs(inputs: Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        ImageError: with what it is.
    """
    if not isinstance(inputs, torch.Tensor):
        raise ImageError(f"inputs must be a tensor of shape (B, C, *spatial), got {type(inputs).__name__}.")
    if not 3 <= inputs.ndim <= 5 or 0 in inputs.shape:
        raise ImageError(
            f"inputs must have shape (B, C, *spatial) with one to three spatial axes and nothing empty, got "
            f"{tuple(inputs.shape)}; add the batch and channel axes with EnsureChannelFirst and [None]."
        )
