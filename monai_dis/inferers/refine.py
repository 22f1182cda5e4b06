"""Running a refine network on chosen windows, in batches, straight into the mosaic.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``D`` spatial axes, ``*roi`` window size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import optional_import
from torch import Tensor

from monai_dis.errors import NetworkError
from monai_dis.inferers.batching import WindowBatch, is_out_of_memory, moved_to_cpu
from monai_dis.inferers.call import NetworkCall, Places, places_of
from monai_dis.inferers.grid import spatial
from monai_dis.inferers.merge import weight_map
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.outputs import OutputForm, Ratio, at_ratio, scaled_outputs, sized
from monai_dis.inferers.plan import Settings, SparsePlan
from monai_dis.inferers.reading import BelowReader, ImageReader
from monai_dis.inferers.statistics import Stopwatch
from monai_dis.inferers.tiles import numbers_at_once

__all__ = ["refine_windows"]


def refine_windows(
    image: ImageReader,
    condition: ImageReader | None,
    plan: SparsePlan,
    chosen: Sequence[np.ndarray],
    refiner: NetworkCall,
    mosaics: Sequence[Mosaic],
    form: OutputForm,
    settings: Settings,
    watch: Stopwatch,
) -> None:
    """Refine the chosen windows of a level and add them to the mosaics.

    Windows of different images share batches. Where memory runs out batches become smaller, then the answer moves to the CPU;
    windows that are finished stay so.

    Args:
        image: reads windows of the images.
        condition: reads those of what travels with them, or None.
        plan: the level.
        chosen: candidate indices per image, best first.
        refiner: the network.
        mosaics: one per output of the network, the primary one first.
        form: the form in which the coarse network answered; the refine network must answer in the same.
        settings: of the run.
        watch: takes the time of the stages.

    Raises:
        NetworkError: when the network's answer does not fit.
        OutOfMemoryError: when one window does not fit into memory.
    """
    images = np.concatenate([np.full(len(c), b, dtype=np.int64) for b, c in enumerate(chosen)])
    corners = plan.windows.corners[np.concatenate(chosen)]
    if len(images) == 0:
        return
    device = torch.device(settings.sw_device or image.device)
    size = WindowBatch(plan.sw_batch_size, plan.read_size, device, plan.index)
    with watch.stage("gather", calls=0):
        source = _WindowSource(image, condition, plan, refiner, mosaics[0], images, corners, device)
    inside = tuple(slice(h, h + r) for h, r in zip(plan.halo, plan.windows.roi, strict=True))
    done = 0
    with _progress(settings.progress, len(images), plan.index) as advance:
        while done < len(images):
            batch = slice(done, min(done + size.windows, len(images)))
            try:
                with watch.stage("gather"):
                    given = source.read(batch)
                with watch.stage("refine"):
                    outputs, own = size.call(lambda given=given: _answer(refiner, given, plan))  # type: ignore[misc]
                with watch.stage("merge"):
                    # A copy without the halo, so that the halo's memory goes.
                    kept = [
                        _without_halo(o, ratio, plan) if any(plan.halo) else o
                        for o, ratio in zip(outputs, own.ratios, strict=True)
                    ]
                    weight = None
                    if settings.process_fn is not None:
                        kept, own, weight = _processed(kept, own, given.window[spatial(inside)], plan, settings)
                    _check(kept, own, mosaics, form, plan.index)
                    # To where the answer lies before any is added: a batch is in all mosaics or in none.
                    # Channels first, since voxels of one class are what is worked on from here.
                    kept = [
                        o.to(m.coarse.device, m.coarse.dtype).contiguous() for m, o in zip(mosaics, kept, strict=True)
                    ]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                caught: BaseException | None = error
            else:
                caught = None
                for mosaic, output, ratio in zip(mosaics, kept, form.ratios, strict=True):
                    places = [at_ratio(corner, ratio) for corner in corners[batch].tolist()]
                    own_weight = None if weight is None else sized(weight, output.shape[2:])
                    mosaic.add_windows(plan.index, images[batch].tolist(), places, output, own_weight)
                done = batch.stop
                advance(batch.stop - batch.start)
            if caught is not None:
                # Outside the handler, so that its traceback no longer holds what did not fit.
                given = outputs = kept = None  # type: ignore[assignment]
                source.forget()
                if not size.shrink() and not moved_to_cpu(mosaics):
                    raise size.too_small() from caught
                caught = None
                if device.type == "cuda":
                    torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Given:
    """What the network is given for a batch."""

    window: Tensor
    places: Places
    below: Tensor | None
    condition: Tensor | None


class _WindowSource:
    """Reads windows for the network, some batches ahead: reading many in one go costs one round of kernels."""

    def __init__(
        self,
        image: ImageReader,
        condition: ImageReader | None,
        plan: SparsePlan,
        refiner: NetworkCall,
        mosaic: Mosaic,
        images: np.ndarray,
        corners: np.ndarray,
        device: torch.device,
    ) -> None:
        self._image, self._condition = image, condition
        self._below = BelowReader(mosaic, plan, len(images)) if refiner.conditioned else None
        self._images, self._corners, self._plan = images, corners, plan
        self._with_coord, self._device = refiner.with_coord, device
        numbers = image.numbers_per_window + (0 if self._below is None else mosaic.channels * prod(plan.read_size))
        self._ahead = max(1, numbers_at_once(device) // (2 * numbers))
        self._first, self._read = 0, _Read(None, None, None)

    def read(self, batch: slice) -> _Given:
        """What the network is given for a slice of all windows."""
        count = batch.stop - batch.start
        if self._read.window is None or not self._first <= batch.start <= batch.stop <= self._first + len(
            self._read.window
        ):
            self._fill(batch.start, max(count, self._ahead))
        part = slice(batch.start - self._first, batch.stop - self._first)
        window, below, condition = (None if t is None else t[part] for t in self._read)
        assert window is not None
        places = []
        if self._with_coord:
            where = self._image.corners(self._corners[batch]).tolist()
            places = [
                places_of(corner, self._plan.read_size, image)
                for corner, image in zip(where, self._images[batch].tolist(), strict=True)
            ]
        return _Given(window, places, below, condition)

    def forget(self) -> None:
        """Free what was read ahead, and read less ahead from now on."""
        self._read, self._ahead = _Read(None, None, None), max(1, self._ahead // 2)

    def _fill(self, start: int, count: int) -> None:
        self._read = _Read(None, None, None)
        images, corners = self._images[start : start + count], self._corners[start : start + count]
        window = self._image.read(images, corners).to(self._device)
        below = None
        if self._below is not None:
            below = self._below.read(images, corners).to(device=self._device, dtype=window.dtype)
        condition = None
        if self._condition is not None:
            condition = self._condition.read(images, corners).to(self._device)
        self._first, self._read = start, _Read(window, below, condition)


class _Read(NamedTuple):
    window: Tensor | None
    below: Tensor | None
    condition: Tensor | None


def _answer(refiner: NetworkCall, given: _Given, plan: SparsePlan) -> tuple[list[Tensor], OutputForm]:
    answer = refiner(given.window, given.places, below=given.below, condition=given.condition)
    return scaled_outputs(answer, len(given.window), plan.read_size, f"network of level {plan.index}")


def _without_halo(output: Tensor, ratio: Ratio, plan: SparsePlan) -> Tensor:
    """The part of an answer that is the window itself."""
    start, size = at_ratio(plan.halo, ratio), at_ratio(plan.windows.roi, ratio)
    return output[spatial([slice(a, a + n) for a, n in zip(start, size, strict=True)])].clone()


def _processed(
    outputs: Sequence[Tensor], form: OutputForm, window: Tensor, plan: SparsePlan, settings: Settings
) -> tuple[list[Tensor], OutputForm, Tensor]:
    """What ``process_fn`` makes of the windows' answers, the form of that, and the weight (*roi) that it gives them."""
    assert settings.process_fn is not None
    importance = weight_map(plan.windows.roi, plan.mode, settings.sigma_scale, settings.roi_weight_map, window)
    processed, weight = settings.process_fn(tuple(outputs), window, importance)
    outputs, own = scaled_outputs(tuple(processed), len(window), plan.windows.roi, "process_fn")
    if weight.numel() != importance.numel():
        raise NetworkError(
            f"process_fn must return one weight for each voxel of a window {plan.windows.roi}, got shape {tuple(weight.shape)}."
        )
    return outputs, replace(form, ratios=own.ratios), weight.reshape(plan.windows.roi)


def _check(outputs: Sequence[Tensor], own: OutputForm, mosaics: Sequence[Mosaic], form: OutputForm, level: int) -> None:
    if own != form or len(outputs) != len(mosaics):
        raise NetworkError(
            f"the network of level {level} must answer in the form of the coarse network (a tensor, or as many tensors "
            "under the same names, of the same share of its window's size)."
        )
    for output, mosaic in zip(outputs, mosaics, strict=True):
        if output.shape[1] != mosaic.channels:
            raise NetworkError(
                f"the network of level {level} returns {output.shape[1]} channels, the coarse network "
                f"{mosaic.channels}; both must have the same classes."
            )


@contextmanager
def _progress(wanted: bool, total: int, level: int) -> Iterator[Callable[[int], Any]]:
    if not wanted:
        yield lambda n: None
        return
    tqdm, _ = optional_import("tqdm", name="tqdm")
    with tqdm(total=total, desc=f"level {level}", unit="window") as bar:
        yield bar.update
