"""Level 0: the whole image on a small grid, in one pass or in MONAI's sliding window.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*grid`` the level's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from monai_dis.inferers.footprint import Footprint
from monai_dis.inferers.gather import pad_image
from monai_dis.inferers.grid import resample, spatial
from monai_dis.inferers.merge import importance_map
from monai_dis.inferers.operations import count_operations, fitting_multiple
from monai_dis.inferers.outputs import OutputForm, flatten_outputs
from monai_dis.inferers.plan import Settings, dense_windows
from monai_dis.inferers.windows import WindowGrid

__all__ = ["CoarsePass", "coarse_pass"]


@dataclass(frozen=True)
class CoarsePass:
    """What level 0 answered.

    Args:
        outputs: (B, C, *grid) per output of the network.
        form: the form in which the network answers.
        calls: number of network calls.
        operations: counts what the pass cost, for the whole batch, when it is called.
        footprint: its windows, where it ran in windows.
    """

    outputs: list[Tensor]
    form: OutputForm
    calls: int
    operations: Callable[[], int]
    footprint: Footprint | None = None


def coarse_pass(
    image: Tensor,
    grid: Sequence[int],
    network: Callable[..., Any],
    settings: Settings,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> CoarsePass:
    """Segment the whole image on the grid of level 0.

    Args:
        image: (B, Ci, *spatial), a plain tensor.
        grid: spatial size of level 0.
        network: the coarse network.
        settings: of the run.
        args: further arguments of the network.
        kwargs: further keyword arguments of the network.
    """
    small = resample(image, grid)
    windows = dense_windows(settings, grid)
    if windows is not None:
        return _in_windows(small, windows, network, settings, args, kwargs)
    return _in_one_pass(small, network, settings, args, kwargs)


def _in_one_pass(
    small: Tensor,
    network: Callable[..., Any],
    settings: Settings,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> CoarsePass:
    here = small.to(settings.sw_device or small.device)
    multiple = settings.levels[0].divisible or fitting_multiple(network, here, *args, **kwargs)
    missing = [-n % multiple for n in here.shape[2:]]
    before = [m // 2 for m in missing]
    after = [m - b for m, b in zip(missing, before, strict=True)]
    padded = pad_image(here, before, after, mode=settings.padding_mode, cval=settings.cval)
    answer = network(padded, *args, **kwargs)
    outputs, form = flatten_outputs(answer, padded.shape[0], padded.shape[2:], "coarse network")
    inside = tuple(slice(b, b + n) for b, n in zip(before, small.shape[2:], strict=True))
    device = settings.device or small.device
    cut = [t[spatial(inside)].to(device).contiguous() for t in outputs]
    return CoarsePass(cut, form, 1, lambda: count_operations(network, [padded], *args, **kwargs))


def _in_windows(
    small: Tensor,
    windows: WindowGrid,
    network: Callable[..., Any],
    settings: Settings,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> CoarsePass:
    level, roi = settings.levels[0], windows.roi
    overlap = settings.overlap if level.overlap is None else level.overlap
    mode = level.mode or settings.mode
    calls, forms = 0, []

    def predictor(window: Tensor) -> Any:
        nonlocal calls
        calls += 1
        outputs, form = flatten_outputs(network(window, *args, **kwargs), len(window), roi, "coarse network")
        forms.append(form)
        return tuple(outputs)

    answer = sliding_window_inference(
        small,
        roi,
        level.sw_batch_size or settings.sw_batch_size,
        predictor,
        overlap=overlap,
        mode=mode,
        sigma_scale=settings.sigma_scale,
        padding_mode=settings.padding_mode,
        cval=settings.cval,
        sw_device=settings.sw_device,
        device=settings.device,
        progress=settings.progress,
    )
    outputs, _ = flatten_outputs(answer, small.shape[0], windows.grid, "coarse network")
    count = len(windows) * small.shape[0]
    one = small.new_empty((1,), device=torch.device(settings.sw_device or small.device)).expand(1, small.shape[1], *roi)
    importance = importance_map(roi, mode, settings.sigma_scale, dtype=outputs[0].dtype, device=outputs[0].device)
    return CoarsePass(
        outputs,
        forms[0],
        calls,
        lambda: count * count_operations(network, [one], *args, **kwargs),
        Footprint(windows.corners, importance),
    )
