"""Running a refine network on chosen windows, in batches, straight into the mosaic.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``D`` spatial axes, ``*roi`` window size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.utils import optional_import
from torch import Tensor

from monai_dis.errors import NetworkError
from monai_dis.inferers.call import NetworkCall, places_of
from monai_dis.inferers.gather import WindowSource, gather_windows, pad_image
from monai_dis.inferers.grid import spatial
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.outputs import OutputForm, flatten_outputs
from monai_dis.inferers.plan import Settings, SparsePlan
from monai_dis.inferers.statistics import Stopwatch

__all__ = ["read_below", "refine_windows"]


def refine_windows(
    image: Tensor | WindowSource,
    condition: Tensor | None,
    plan: SparsePlan,
    chosen: Sequence[np.ndarray],
    refiner: NetworkCall,
    mosaics: Sequence[Mosaic],
    form: OutputForm,
    settings: Settings,
    watch: Stopwatch,
) -> None:
    """Refine the chosen windows of a level and add them to the mosaics.

    Windows of different images share batches.

    Args:
        image: (B, Ci, *grid) image on the level's grid, or what reads its windows.
        condition: (B, Ci, *grid) what travels with it, or None.
        plan: the level.
        chosen: candidate indices per image, best first.
        refiner: the network.
        mosaics: one per output of the network, the primary one first.
        form: the form in which the coarse network answered; the refine network must answer in the same.
        settings: of the run.
        watch: takes the time of the stages.

    Raises:
        NetworkError: when the network's answer does not fit.
    """
    images = np.concatenate([np.full(len(c), b, dtype=np.int64) for b, c in enumerate(chosen)])
    corners = plan.windows.corners[np.concatenate(chosen)]
    if len(images) == 0:
        return
    with watch.stage("gather", calls=0):
        before = [p[0] + h for p, h in zip(plan.windows.padding, plan.halo, strict=True)]
        after = [p[1] + h for p, h in zip(plan.windows.padding, plan.halo, strict=True)]
        padded = pad_image(image, before, after, mode=settings.padding_mode, cval=settings.cval)
        if condition is not None:
            condition = pad_image(condition, before, after, mode=settings.padding_mode, cval=settings.cval)
        # A window's corner less its halo, in the padded image.
        reads = torch.from_numpy(corners + np.asarray(before) - np.asarray(plan.halo))
    sw_device = settings.sw_device or image.device
    inside = tuple(slice(h, h + r) for h, r in zip(plan.halo, plan.windows.roi, strict=True))
    with _progress(settings.progress, len(images), plan.index) as advance:
        for start in range(0, len(images), plan.sw_batch_size):
            batch = slice(start, start + plan.sw_batch_size)
            with watch.stage("gather"):
                index = torch.from_numpy(images[batch])
                window = gather_windows(padded, index, reads[batch], plan.read_size).to(sw_device)
                extra = None
                if condition is not None:
                    extra = gather_windows(condition, index, reads[batch], plan.read_size).to(sw_device)
                places = []
                if refiner.with_coord:
                    corners_read = zip(reads[batch].tolist(), index.tolist(), strict=True)
                    places = [places_of(c, plan.read_size, i) for c, i in corners_read]
                conditioning = None
                if refiner.conditioned:
                    below = _conditioning(mosaics[0], plan, images[batch], corners[batch])
                    conditioning = below.to(device=sw_device, dtype=window.dtype)
            with watch.stage("refine"):
                answer = refiner(window, places, below=conditioning, condition=extra)
                outputs, own = flatten_outputs(answer, len(window), plan.read_size, f"network of level {plan.index}")
                _check(outputs, own, mosaics, form, plan.index)
            with watch.stage("merge"):
                # A copy without the halo, so that the halo's memory goes.
                kept = [output[spatial(inside)].clone() if any(plan.halo) else output for output in outputs]
                weight = None
                if settings.process_fn is not None:
                    kept, weight = _processed(kept, window[spatial(inside)], mosaics[0], plan, settings)
                for mosaic, output in zip(mosaics, kept, strict=True):
                    mosaic.add_windows(plan.index, images[batch].tolist(), corners[batch].tolist(), output, weight)
            advance(len(window))


def _processed(
    outputs: Sequence[Tensor], window: Tensor, mosaic: Mosaic, plan: SparsePlan, settings: Settings
) -> tuple[list[Tensor], Tensor]:
    """What ``process_fn`` makes of the windows' answers, and the weight (*roi) that it gives them."""
    assert settings.process_fn is not None
    importance = mosaic.importance(plan.index).to(device=window.device, dtype=window.dtype)
    processed, weight = settings.process_fn(tuple(outputs), window, importance)
    outputs, _ = flatten_outputs(tuple(processed), len(window), plan.windows.roi, "process_fn")
    if weight.numel() != importance.numel():
        raise NetworkError(
            f"process_fn must return one weight for each voxel of a window {plan.windows.roi}, got shape {tuple(weight.shape)}."
        )
    return outputs, weight.reshape(plan.windows.roi)


def _conditioning(mosaic: Mosaic, plan: SparsePlan, images: np.ndarray, corners: np.ndarray) -> Tensor:
    """Logits of the level below on each window and its halo, (K, C, *read); beyond the image the edge is repeated."""
    parts = []
    for image, corner in zip(images, corners, strict=True):
        first = [int(c) - h for c, h in zip(corner, plan.halo, strict=True)]
        parts.append(read_below(mosaic, plan.windows.grid, plan.index - 1, first, plan.read_size, image=int(image)))
    return torch.cat(parts)


def read_below(
    mosaic: Mosaic, grid: Sequence[int], level: int, first: Sequence[int], size: Sequence[int], *, image: int = 0
) -> Tensor:
    """Logits of a level on a window of any grid; beyond the image the edge is repeated.

    Args:
        mosaic: the answer so far.
        grid: spatial size of the grid.
        level: the last level that counts.
        first: first voxel of the window; may lie outside.
        size: of the window.
        image: index in the batch.

    Returns:
        (1, C, *size).
    """
    region, pad = [], []
    for start, extent, n in zip(first, size, grid, strict=True):
        low, high = min(max(start, 0), n - 1), max(min(start + extent, n), 1)
        region.append(slice(low, high))
        pad.append((low - start, start + extent - high))
    part = mosaic.on(grid, level, tuple(region), image=image)
    amounts = [n for pair in reversed(pad) for n in pair]
    return F.pad(part, amounts, mode="replicate") if any(amounts) else part


def _check(outputs: Sequence[Tensor], own: OutputForm, mosaics: Sequence[Mosaic], form: OutputForm, level: int) -> None:
    if own != form or len(outputs) != len(mosaics):
        raise NetworkError(
            f"the network of level {level} must answer in the form of the coarse network (a tensor, or as many tensors "
            "under the same names)."
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
