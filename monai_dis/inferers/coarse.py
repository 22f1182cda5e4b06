"""Level 0: the whole image on a small grid, in one pass or in MONAI's sliding window.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*grid`` the level's grid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from monai_dis.errors import OutOfMemoryError
from monai_dis.inferers.batching import WindowBatch, one_pass, windows_at_once
from monai_dis.inferers.call import NetworkCall, Places, places_of
from monai_dis.inferers.footprint import Footprint
from monai_dis.inferers.gather import pad_image
from monai_dis.inferers.grid import resample, spatial
from monai_dis.inferers.merge import weight_map
from monai_dis.inferers.operations import MULTIPLES, Cost
from monai_dis.inferers.outputs import OutputForm, Ratio, at_ratio, flatten_outputs, scaled_outputs
from monai_dis.inferers.plan import Settings, dense_windows
from monai_dis.inferers.windows import WindowGrid, full_roi, window_grid

__all__ = ["CoarsePass", "coarse_pass"]


logger = logging.getLogger("monai_dis")

_NOTHING = Cost(0, 0)


@dataclass(frozen=True)
class CoarsePass:
    """What level 0 answered.

    Args:
        outputs: (B, C, *grid) per output of the network.
        form: the form in which the network answers.
        calls: number of network calls.
        cost: counts what the pass cost, for the whole batch, when it is called.
        image: (B, Ci, *grid) the image that it saw.
        footprint: its windows, where it ran in windows.
    """

    outputs: list[Tensor]
    form: OutputForm
    calls: int
    cost: Callable[[], Cost]
    image: Tensor
    footprint: Footprint | None = None


def coarse_pass(
    image: Tensor, condition: Tensor | None, grid: Sequence[int], network: NetworkCall, settings: Settings
) -> CoarsePass:
    """Segment the whole image on the grid of level 0.

    Args:
        image: (B, Ci, *spatial), a plain tensor.
        condition: (B, Ci, *spatial) what travels with it, or None.
        grid: spatial size of level 0.
        network: the coarse network.
        settings: of the run.
    """
    small = resample(image, grid)
    extra = None if condition is None else resample(condition, grid)
    given = dense_windows(settings, grid)
    if given is not None:
        own = settings.levels[0].overlap
        return _in_windows(small, extra, given, settings.overlap if own is None else own, network, settings)
    overlap: float | Sequence[float]
    windows, overlap = window_grid(grid, full_roi(settings.roi_size, grid), 0.0), 0.0
    like = small.new_empty((1,), device=torch.device(settings.sw_device or small.device)).expand(small.shape)
    multiple = settings.levels[0].divisible or network.fitting_multiple(like)
    refused: Exception | None = None
    # A network of fixed size, as transformers are, gets windows of the size that the finer levels have.
    if multiple is not None or not network.accepts(like, windows.roi):
        try:
            if multiple is not None:
                return _in_one_pass(small, extra, multiple, network, settings)
            return _in_first_that_fits(small, extra, network, settings)
        except OutOfMemoryError as error:
            if prod(windows.roi) >= prod(grid):
                raise
            logger.warning(
                "level 0: the whole image does not fit into memory in one pass, it goes in windows of %s", windows.roi
            )
            # Where the sliding window runs, this runs: with its overlap.
            overlap, refused = settings.overlap, error.with_traceback(None)
            windows = window_grid(grid, windows.roi, overlap)
        except Exception as error:  # whatever a foreign network raises: it may take windows all the same
            if multiple is not None:
                raise
            refused = error
    try:
        return _in_windows(small, extra, windows, overlap, network, settings)
    except Exception as error:
        # The network itself says what is wrong with the whole image.
        raise refused or error from None


def _in_first_that_fits(small: Tensor, extra: Tensor | None, network: NetworkCall, settings: Settings) -> CoarsePass:
    """One pass of what could not be tried without the image: padded to larger multiples until the network takes it.

    Raises:
        Exception: what the network raised at first, when it takes none.
    """
    first: Exception | None = None
    before, voxels = network.costs.spent, 0
    for multiple in MULTIPLES:
        refused = Cost(network.costs.spent - before, voxels)
        try:
            return _in_one_pass(small, extra, multiple, network, settings, refused)
        except OutOfMemoryError:
            raise
        except Exception as error:  # whatever a foreign network raises: the size does not fit
            first = first or error
            voxels += small.shape[0] * prod(-(-n // multiple) * multiple for n in small.shape[2:])
    assert first is not None
    raise first


def _in_one_pass(
    small: Tensor,
    extra: Tensor | None,
    multiple: int,
    network: NetworkCall,
    settings: Settings,
    refused: Cost = _NOTHING,
) -> CoarsePass:
    here = small.to(settings.sw_device or small.device)
    missing = [-n % multiple for n in here.shape[2:]]
    before = [m // 2 for m in missing]
    after = [m - b for m, b in zip(missing, before, strict=True)]

    def padded(values: Tensor) -> Tensor:
        return pad_image(values, before, after, mode=settings.padding_mode, cval=settings.cval)

    whole = padded(here)
    places = [places_of([0] * len(before), whole.shape[2:], b) for b in range(len(whole))]
    travelling = None if extra is None else padded(extra.to(whole.device))
    answer = one_pass(lambda: network(whole, places, condition=travelling), whole.shape[2:], whole.device)
    outputs, form = scaled_outputs(answer, whole.shape[0], whole.shape[2:], "coarse network")
    if not all(_is_whole(ratio) for ratio in form.ratios):
        flatten_outputs(answer, whole.shape[0], whole.shape[2:], "coarse network")  # raises
    device = settings.device or small.device
    cut = []
    for output, ratio in zip(outputs, form.ratios, strict=True):
        start, size = at_ratio(before, ratio), at_ratio(small.shape[2:], ratio)
        inside = tuple(slice(a, a + max(1, n)) for a, n in zip(start, size, strict=True))
        cut.append(output[spatial(inside)].to(device).contiguous())
    like, size = whole.new_empty((1,)).expand(1, whole.shape[1], 1), tuple(whole.shape[2:])
    count = small.shape[0]
    return CoarsePass(cut, form, 1, lambda: network.cost(like, size, count=count) + refused, small)


def _is_whole(ratio: Ratio) -> bool:
    """Whether answers are so many times larger or smaller; others come of a size that does not fit."""
    return ratio is None or all(1 in (r.numerator, r.denominator) for r in ratio)


def _in_windows(
    small: Tensor,
    extra: Tensor | None,
    windows: WindowGrid,
    overlap: float | Sequence[float],
    network: NetworkCall,
    settings: Settings,
) -> CoarsePass:
    level, roi = settings.levels[0], windows.roi
    mode = level.mode or settings.mode
    calls, forms = 0, []

    def predictor(window: Tensor, places: Places, condition: Tensor | None = None) -> Any:
        nonlocal calls
        calls += 1
        answer = network(window, places, condition=condition)
        outputs, form = scaled_outputs(answer, len(window), roi, "coarse network")
        forms.append(form)
        return tuple(outputs)

    weights: list[Tensor] = []

    def process(outputs: Any, window: Tensor, importance: Tensor) -> Any:
        assert settings.process_fn is not None
        processed, weight = settings.process_fn(outputs, window, importance)
        weights.append(weight)
        # It may give another size to what the network returned.
        forms[-1] = replace(
            forms[-1], ratios=scaled_outputs(tuple(processed), len(window), roi, "process_fn")[1].ratios
        )
        return processed, weight

    travelling: dict[str, Any] = {} if extra is None else {"condition": extra}
    device = torch.device(settings.sw_device or small.device)
    # What a window takes is not measured here: MONAI's loop has one number of windows for all calls.
    size = WindowBatch(level.sw_batch_size or settings.sw_batch_size or windows_at_once(roi), roi, device, 0)

    def slide() -> Any:
        nonlocal calls
        calls = 0
        forms.clear()
        weights.clear()
        return sliding_window_inference(
            small,
            roi,
            size.windows,
            predictor,
            overlap=overlap,
            mode=mode,
            sigma_scale=settings.sigma_scale,
            padding_mode=settings.padding_mode,
            cval=settings.cval,
            sw_device=settings.sw_device,
            device=settings.device,
            progress=settings.progress,
            roi_weight_map=settings.roi_weight_map,
            process_fn=None if settings.process_fn is None else process,
            with_coord=True,
            **travelling,
        )

    answer = size.until_it_fits(slide)
    outputs, _ = scaled_outputs(answer, small.shape[0], windows.grid, "coarse network")
    count = len(windows) * small.shape[0]
    like = small.new_empty((1,), device=torch.device(settings.sw_device or small.device)).expand(1, small.shape[1], 1)
    # MONAI's sliding window divides by the weights that the first windows had.
    importance = weights[0].reshape(roi) if weights else None
    importance = weight_map(
        roi, mode, settings.sigma_scale, settings.roi_weight_map if importance is None else importance, outputs[0]
    )
    footprint = Footprint(windows.corners, importance)
    return CoarsePass(outputs, forms[0], calls, lambda: network.cost(like, roi) * count, small, footprint)
