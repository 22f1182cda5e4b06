"""The levels of a run on a slide: the steps of any run, with maps and windows on disk in place of tensors in memory.

Letters in shapes: ``C`` classes, ``Ci`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import LevelError, NetworkError
from monai_dis.inferers.budget import Spending
from monai_dis.inferers.call import NetworkCall, places_of
from monai_dis.inferers.gain import Scorer, scorers_of
from monai_dis.inferers.merge import weight_map
from monai_dis.inferers.mosaic import Layer
from monai_dis.inferers.operations import CallCosts, Cost
from monai_dis.inferers.outputs import OutputForm, flatten_outputs
from monai_dis.inferers.plan import Settings, SparsePlan, dense_windows, plan_sparse_levels
from monai_dis.inferers.prices import Counts, Prices
from monai_dis.inferers.reading import ImageReader
from monai_dis.inferers.refine import refine_windows
from monai_dis.inferers.result import IterativeResult
from monai_dis.inferers.run import level_limit, window_records
from monai_dis.inferers.score import WindowScores, probabilities, score_windows, uncertainty
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.stages import stages_of
from monai_dis.inferers.statistics import Stopwatch
from monai_dis.inferers.windows import WindowGrid, full_roi, window_grid
from monai_dis.slides.dense import Frame, run_tiles, tiles_in_windows
from monai_dis.slides.grid_image import GridImage
from monai_dis.slides.mosaic import ComputedPlanes, SlideMosaic, keep_on_disk
from monai_dis.slides.pyramid import Pyramid
from monai_dis.slides.regions import Region
from monai_dis.slides.store import TileFiles
from monai_dis.slides.tissue import Tissue

__all__ = ["SlideRun", "run_slide"]

_SURE = 20.0  # logit of ground that no network looked at: background, beyond doubt
_READ_TOGETHER = 1024  # windows are refined square by square of this side, so that what lies side by side is read once

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SlideRun:
    """What is needed to run levels on a slide.

    Args:
        pyramid: the file.
        network: with its weights.
        settings: of the inferer.
        prepare: (Ci, X, Y) of the file's values to what the network takes.
        tissue: where to look.
        folder: for the files of this run alone; what is in it already is not computed again.
        device: of the networks.
        progress: told the stage, how much of it is done and of how much.
    """

    pyramid: Pyramid
    network: Callable[..., Any]
    settings: Settings
    prepare: Callable[[Tensor], Tensor]
    tissue: Tissue
    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = lambda stage, done, total: None

    def image_on(self, grid: Sequence[int]) -> GridImage:
        """The slide on a grid."""
        return GridImage(self.pyramid, (int(grid[0]), int(grid[1])), self.prepare)

    def is_empty(self, grid: Sequence[int]) -> Callable[[Sequence[slice]], bool]:
        """Whether a region of a grid has no tissue."""
        return lambda region: not self.tissue.meets(region, grid)

    def ground(self, grid: Sequence[int]) -> Callable[[Sequence[slice]], NDArray[np.bool_]]:
        """Which voxels of a region of a grid have tissue."""
        return lambda region: self.tissue.on(region, grid)


def run_slide(run: SlideRun) -> IterativeResult:
    """Run all levels.

    Memory: a tile of the coarse pass with its surroundings, a batch of windows, slabs of maps, and a few numbers for every
    candidate window. What grows with the slide is on disk.

    Returns:
        the result, whose mosaic is read from the files of the run.

    Raises:
        LevelError: when the settings need the whole image in memory.
        NetworkError: when the network's answers do not fit.
    """
    with torch.no_grad():
        return _Levels(run).run()


class _Levels:
    def __init__(self, run: SlideRun) -> None:
        self.run_of = run
        self.like = _like(run.pyramid)
        for level in run.settings.levels:
            _check_spacing(level, run.pyramid)
        self.settings = replace(run.settings, sw_device=run.device, device="cpu", progress=False)
        _check(self.settings)
        self.plans = plan_sparse_levels(self.settings, self.like)
        for plan in self.plans:
            _check_plan(plan)
        stages = stages_of(run.network, run.settings.levels)
        with_coord, autocast = self.settings.with_coord, self.settings.autocast
        costs = CallCosts()
        self.coarse = NetworkCall(stages.coarse, with_coord=with_coord, autocast=autocast, costs=costs)
        self.refiners = [
            NetworkCall(n, c, with_coord=with_coord, autocast=autocast, costs=costs)
            for n, c in zip(stages.refine, stages.conditioned, strict=True)
        ]
        self.scorers = scorers_of(self.plans, stages.scorers, self.settings.autocast)
        self.watch = Stopwatch(cuda=run.device.type == "cuda")

    def run(self) -> IterativeResult:
        run, settings, watch = self.run_of, self.settings, self.watch
        with watch.stage("coarse", calls=0):
            dense = _DensePass(run, settings, self.coarse, settings.levels[0].grid_of(self.like))
            watch.calls["coarse"] = dense.compute()
        mosaic = self._mosaic(dense)
        prices = Prices(self.like.as_tensor(), self.plans, self.refiners, self.scorers, mosaic, settings, dense.price)
        unit = prices.unit() if prices.needed else None
        spent = Spending(operations=0.0 if unit is None else prices.coarse(unit))
        records, total, scored = [], 0, []
        score_size = mosaic.grid_size(0)
        for plan, refiner, scorer in zip(self.plans, self.refiners, self.scorers, strict=True):
            outside = [*plan.done, *_empty_windows(plan.windows, run.tissue)]
            total += len(plan.windows) - len(set(outside))
            score_size = plan.score_grid(mosaic.grid_size(plan.index - 1))
            toll = 0.0 if unit is None else prices.scoring(plan, unit)
            limit = level_limit(settings, plan, spent.plus_operations(toll), prices.of(plan, unit))
            if limit == 0:
                continue
            if scorer is not None:
                scored.append(plan)
            picks = self._choose(mosaic, plan, scorer, score_size, limit, sorted(set(outside)))
            spent = spent.plus_operations(toll).plus(len(picks[0]), prices.of(plan, unit))
            records.extend(window_records(plan, [picks], self.like.shape[2:]))
            self._refine(mosaic, plan, refiner, picks[0], dense.form)

        def counts() -> Counts:
            refined = [sum(r.level == p.index for r in records) for p in self.plans]
            return prices.counts(dense.cost(), refined, scored)

        return IterativeResult([mosaic], dense.form, self.like, tuple(records), total, counts, score_size, watch)

    def _mosaic(self, dense: _DensePass) -> SlideMosaic:
        like = torch.empty(1)
        layers = [
            Layer(
                p.windows.grid,
                p.windows.roi,
                p.merge,
                weight_map(p.windows.roi, p.mode, self.settings.sigma_scale, self.settings.roi_weight_map, like),
            )
            for p in self.plans
        ]
        for plan, layer in zip(self.plans, layers, strict=True):
            keep_on_disk(layer, self.run_of.folder / f"windows-{plan.index}.bin", len(dense.store.fill))
        return SlideMosaic(dense.store, self.like.shape[2:], dense.activation, layers)

    def _choose(
        self,
        mosaic: SlideMosaic,
        plan: SparsePlan,
        scorer: Scorer | None,
        size: tuple[int, ...],
        limit: int | None,
        outside: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray]:
        """The windows of a level, best first, and their scores; chosen once, also over several runs."""
        path = self.run_of.folder / f"choice-{plan.index}.npz"
        if not path.exists():
            with self.watch.stage("score"):
                gain = None if scorer is None else self._gain(mosaic, plan, scorer)
                scores = self._scores(mosaic, plan, size, gain)
            with self.watch.stage("select"):
                indices, gains = select_windows(
                    scores,
                    0,
                    limit=limit,
                    min_score=plan.lowest_score(self.settings.budget),
                    selection=plan.selection,
                    done=outside,
                )
            with atomic_path(path) as temporary:
                np.savez(temporary, indices=indices, gains=gains)
        with np.load(path) as kept:
            return kept["indices"], kept["gains"]

    def _gain(self, mosaic: SlideMosaic, plan: SparsePlan, scorer: Scorer) -> TileFiles:
        """What refinement is expected to gain, on the grid of the level below."""
        below = mosaic.grid_size(plan.index - 1)
        image, frame = self.run_of.image_on(below), Frame(below)
        store = TileFiles(self.run_of.folder / f"gain-{plan.index}", below, frame.tiles, torch.zeros(1))

        def answer(start: list[int], size: list[int]) -> Tensor:
            region = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
            return scorer(image.read(region), mosaic.grid(plan.index - 1, region), self.run_of.device)

        run_tiles(store, frame, answer, self.run_of.ground(below), self._report(f"scores of level {plan.index}"))
        return store

    def _scores(
        self, mosaic: SlideMosaic, plan: SparsePlan, size: tuple[int, ...], gain: TileFiles | None
    ) -> WindowScores:
        below, activation = plan.index - 1, mosaic.activation
        if gain is not None:
            planes = ComputedPlanes((1, 1, *gain.grid), gain.read)
            return score_windows(planes, None, plan.windows, plan.aggregate, parts=plan.cell_parts)
        empty = self.run_of.is_empty(size)

        def chance(region: Sequence[slice]) -> Tensor:
            return probabilities(mosaic.on(size, below, region), activation).nan_to_num(nan=0.5)

        def unsure(region: Sequence[slice]) -> Tensor:
            if empty(region):
                return torch.zeros(1, 1, *[part.stop - part.start for part in region])
            return uncertainty(mosaic.on(size, below, region), plan.score, activation=activation)

        if plan.score == "poster":
            return score_windows(None, ComputedPlanes((1, mosaic.channels, *size), chance), plan.windows)
        planes = ComputedPlanes((1, 1, *size), unsure)
        return score_windows(planes, None, plan.windows, plan.aggregate, parts=plan.cell_parts)

    def _refine(
        self, mosaic: SlideMosaic, plan: SparsePlan, refiner: NetworkCall, chosen: np.ndarray, form: OutputForm
    ) -> None:
        """Refine windows side by side, whatever their rank, and put them into the mosaic by rank: sums then have their order."""
        layer, corners = mosaic.layers[plan.index - 1], plan.windows.corners[chosen]
        order = np.lexsort(
            (corners[:, 1], corners[:, 0], corners[:, 1] // _READ_TOGETHER, corners[:, 0] // _READ_TOGETHER)
        )
        have = len(layer.logits)
        _enter(layer, corners[order[:have]])
        image = self.run_of.image_on(plan.windows.grid)
        report = self._report(f"windows of level {plan.index}")
        step = _whole_batches(plan.sw_batch_size or 1)
        for first in range(have, len(order), step):
            report(first, len(order))
            some = chosen[order[first : first + step]]
            reader = ImageReader(self.like.as_tensor(), plan, self.settings, len(some), image)
            refine_windows(reader, None, plan, [some], refiner, [mosaic], form, self.settings, self.watch)
        report(len(order), len(order))
        ranks = np.argsort(order)
        layer.corners = [tuple(corner) for corner in corners.tolist()]
        layer.logits.reorder(ranks.tolist())  # type: ignore[attr-defined]

    def _report(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.run_of.progress(stage, done, total)


class _DensePass:
    """Level 0: in tiles that hang together as one pass, or in the windows that the level asks for."""

    def __init__(self, run: SlideRun, settings: Settings, network: NetworkCall, grid: tuple[int, ...]) -> None:
        self.run, self.settings, self.network, self.grid = run, settings, network, grid
        self.windows = dense_windows(settings, grid)
        channels = run.pyramid.channels
        multiple = settings.levels[0].divisible
        if self.windows is None and multiple is None:
            # Of a smaller grid with the same remainders: nothing as large as the slide is ever made.
            like = torch.empty(1, device=run.device).expand(
                1, channels, *[n if n <= 2048 else 1024 + n % 1024 for n in grid]
            )
            multiple = network.fitting_multiple(like)
            roi = full_roi(settings.roi_size, grid)
            if multiple is None and network.accepts(like, roi):
                self.windows = window_grid(grid, roi, 0.0)
        self.frame = Frame(grid, multiple or 1)
        outputs, self.form = self._answer(torch.zeros(1, channels, *self._smallest()), [[0, 0]])
        self.activation = settings.activation or ("softmax" if outputs.shape[1] > 1 else "sigmoid")
        fill = torch.full((outputs.shape[1],), -_SURE)
        if self.activation == "softmax":
            fill[0] = _SURE
        tiles, shift = self.frame.tiles, self.frame.before
        self.store = TileFiles(run.folder / "coarse", grid, tiles, fill, shift)

    def compute(self) -> int:
        """Compute what is not there yet; returns the number of network calls."""
        ground = self.run.ground(self.grid)
        image, settings = self.run.image_on(self.grid), self.settings
        level = settings.levels[0]

        def report(done: int, total: int) -> None:
            self.run.progress("coarse pass", done, total)

        if self.windows is not None:
            padding = self.windows.padding
            padded = image.padded(
                [p[0] for p in padding], [p[1] for p in padding], settings.padding_mode, settings.cval
            )
            roi = self.windows.roi
            before = torch.tensor([p[0] for p in padding])

            def of_windows(corners: list[list[int]]) -> Tensor:
                return self._answer(padded.windows(torch.tensor(corners) + before, roi), corners)[0]

            importance = weight_map(
                roi, level.mode or settings.mode, settings.sigma_scale, settings.roi_weight_map, torch.empty(1)
            )
            batch = level.sw_batch_size or settings.sw_batch_size or 1
            return tiles_in_windows(self.store, self.windows, importance, batch, of_windows, ground, report)
        after = [p - n - b for p, n, b in zip(self.frame.padded, self.grid, self.frame.before, strict=True)]
        whole = image.padded(self.frame.before, after, settings.padding_mode, settings.cval)

        def of_tile(start: list[int], size: list[int]) -> Tensor:
            return self._answer(whole.windows(torch.tensor([start]), size), [start])[0]

        return run_tiles(self.store, self.frame, of_tile, ground, report)

    def cost(self) -> Cost:
        """What all tiles cost that a network looked at, in this run or before."""
        if self.windows is not None:
            each = self.network.cost(self._one, self.windows.roi)
            return each * sum(self.windows_in(region) for region in self._computed())
        sizes = Counter(self.frame.read_size(region) for region in self._computed())
        return sum((self.network.cost(self._one, size) * count for size, count in sizes.items()), Cost(0, 0))

    def price(self) -> Cost:
        """What a budget pays for it: one pass over the same ground, without what is computed again around tiles."""
        if self.windows is not None:
            share = sum(_area(region) for region in self._computed()) / prod(self.grid)
            return self.network.cost(self._one, self.windows.roi) * (share * len(self.windows))
        total = Cost(0, 0)
        for region in self._computed():
            size = self.frame.read_size(region)
            total += self.network.cost(self._one, size) * (prod(self.frame.tile_size(region)) / prod(size))
        return total

    @property
    def _one(self) -> Tensor:
        return torch.empty(1, device=self.run.device).expand(1, self.run.pyramid.channels, 1)

    def _computed(self) -> list[Region]:
        return [region for path, region in self.store.tiles() if path.stat().st_size > 0]

    def windows_in(self, region: Sequence[slice]) -> int:
        """How many windows of level 0 meet a region."""
        assert self.windows is not None
        parts = zip(region, self.windows.starts, self.windows.roi, strict=True)
        return prod(sum(s < part.stop and s + r > part.start for s in starts) for part, starts, r in parts)

    def _smallest(self) -> tuple[int, ...]:
        return (
            self.windows.roi
            if self.windows is not None
            else (-(-128 // self.frame.multiple) * self.frame.multiple,) * 2
        )

    def _answer(self, window: Tensor, corners: list[list[int]]) -> tuple[Tensor, OutputForm]:
        size = tuple(window.shape[2:])
        places = [places_of(corner, size, 0) for corner in corners]
        outputs, form = flatten_outputs(
            self.network(window.to(self.run.device), places), len(window), size, "coarse network"
        )
        if len(outputs) != 1:
            raise NetworkError(f"slides are segmented with networks of one output, this one returns {len(outputs)}.")
        return outputs[0].cpu(), form


def _like(pyramid: Pyramid) -> MetaTensor:
    """An image of the slide's shape and geometry that takes the memory of one number."""
    values = torch.empty(1, 1, 1, 1).expand(1, pyramid.channels, *pyramid.size)
    affine = torch.eye(4, dtype=torch.float64)
    for axis, um in enumerate(pyramid.spacing_um or (1000.0, 1000.0)):
        affine[axis, axis] = um / 1000
    return MetaTensor(values, affine=affine)


def _check_spacing(level: Any, pyramid: Pyramid) -> None:
    if level.spacing_mm is not None and pyramid.spacing_um is None:
        raise LevelError(
            f"a level has a spacing in millimetres, and {pyramid.path} does not say the size of its pixels."
        )


def _check(settings: Settings) -> None:
    """Refuse what needs the whole image in memory."""
    if settings.process_fn is not None:
        raise LevelError("process_fn is not for slides; leave it out.")
    if settings.padding_mode == "circular":
        raise LevelError(
            "padding_mode 'circular' needs the far side of the image; use 'constant' or 'replicate' for slides."
        )


def _check_plan(plan: SparsePlan) -> None:
    if plan.exploration > 0 or plan.merge == "average":
        raise LevelError(
            f"level {plan.index} has exploration or the merge 'average', which need the whole image in memory; for slides choose "
            "exploration 0 and another merge."
        )


def _empty_windows(windows: WindowGrid, tissue: Tissue) -> list[int]:
    """Candidates that have no tissue."""
    return [
        k
        for k, corner in enumerate(windows.corners.tolist())
        if not tissue.meets(
            [slice(max(c, 0), min(c + r, n)) for c, r, n in zip(corner, windows.roi, windows.grid, strict=True)],
            windows.grid,
        )
    ]


def _area(region: Sequence[slice]) -> int:
    return prod(part.stop - part.start for part in region)


def _enter(layer: Layer, corners: np.ndarray) -> None:
    """Enter windows whose logits are there from an earlier run."""
    layer.images.extend([0] * len(corners))
    layer.corners.extend(tuple(corner) for corner in corners.tolist())
    layer.weights.extend([None] * len(corners))


def _whole_batches(batch: int) -> int:
    return batch * max(1, 256 // batch)
