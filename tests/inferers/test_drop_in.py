"""The drop-in: the arguments of MONAI's sliding window, a first pass that the budget pays for, and its laws."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.errors import LevelError
from monai_dis.inferers import Budget, DropInInferer, IterativeInferer, drop_in_levels
from monai_dis.inferers.windows import window_grid
from monai_dis.testing.networks import FixedConv


def test_it_takes_the_arguments_of_the_sliding_window() -> None:
    ours, theirs = (inspect.signature(c.__init__).parameters for c in (DropInInferer, SlidingWindowInferer))

    assert list(ours)[: len(theirs)] == list(theirs)
    assert [n for n in theirs if str(ours[n].default) != str(theirs[n].default)] == ["overlap"]


@pytest.mark.parametrize(
    ("size", "roi", "scale", "in_windows", "merge"),
    [
        ((512, 512, 512), 96, 1, True, "average"),  # 216 windows of 1000: no border is left to lower resolution
        ((512, 512, 300), 128, 1.2, True, "blend"),
        ((240, 240, 155), 128, 1.1, False, "blend"),  # 4.3 windows' worth of voxels, of 18: the whole image nearly fits
        ((200, 144, 88), 96, 1.1, False, "blend"),
        ((256, 256, 38), (128, 128, 24), (1.2, 1.2, 1), False, "blend"),  # slices far apart: none is spared
        ((512, 512, 120), (192, 192, 48), (1.4, 1.4, 1), True, "blend"),
        ((512, 512, 120), (192, 192, 64), 1, True, "average"),
        ((256, 256, 38), (128, 128, 48), 1.3, False, "blend"),
        ((1024, 1024), 256, 1.4, True, "blend"),
        ((90, 90, 90), 96, 1.5, False, "blend"),
    ],
)
def test_the_finest_first_pass_that_the_budget_pays_for(
    size: tuple[int, ...], roi: int | tuple[int, ...], scale: float | tuple[float, ...], in_windows: bool, merge: str
) -> None:
    first, second = drop_in_levels(size, roi)

    assert (first.scale, first.roi_size is not None) == (scale, in_windows)
    assert (second.scale, second.selection, second.merge) == (1, "depth", merge)


@given(
    size=st.lists(st.integers(1, 600), min_size=1, max_size=3),
    roi=st.integers(8, 128),
    share=st.floats(0.05, 1.0),
)
def test_the_first_pass_leaves_room(size: list[int], roi: int, share: float) -> None:
    first, _ = drop_in_levels(size, roi, share)
    grid = [math.ceil(n / float(first.scale)) for n in size]  # type: ignore[arg-type]
    window = roi ** len(size)
    cost = math.prod(grid) if first.roi_size is None else len(window_grid(grid, roi, 0.0)) * window

    assert first.scale == 4 or cost <= share * len(window_grid(size, roi, 0.5)) * window


@pytest.mark.parametrize(("shape", "roi"), [((1, 1, 170, 130), 32), ((2, 1, 90, 80, 60), 20), ((1, 1, 40, 30, 22), 16)])
def test_the_budget_is_kept_by_counted_operations(shape: tuple[int, ...], roi: int) -> None:
    image, network = torch.randn(shape), FixedConv(len(shape) - 2, 1, 2)
    with FlopCounterMode(display=False) as counter:
        result = DropInInferer(roi, 4, 0.5, "gaussian").run(image, network)
    with torch.no_grad(), FlopCounterMode(display=False) as full:
        SlidingWindowInferer(roi, 4, 0.5, "gaussian")(image, network)

    share = counter.get_total_flops() / full.get_total_flops()
    assert 0.15 < share <= 0.3
    assert result.statistics.fraction_of_sliding_window == pytest.approx(share, rel=0.01)


def test_windows_without_overlap_then_everywhere() -> None:
    """A volume of many windows: no window is the sliding window at overlap 0, all are the one at overlap 0.5."""
    image, network = torch.randn(1, 1, 90, 80, 60), FixedConv(3, 1, 2)
    assert drop_in_levels(image.shape[2:], 16)[1].merge == "average"
    make = {"roi_size": 16, "sw_batch_size": 4, "mode": "gaussian"}
    with torch.no_grad():
        none, half = (SlidingWindowInferer(overlap=o, **make)(image, network) for o in (0.0, 0.5))  # type: ignore[arg-type]

    first = DropInInferer(**make, budget=Budget(windows=0))(image, network)  # type: ignore[arg-type]
    some = DropInInferer(**make)(image, network)  # type: ignore[arg-type]
    everything = DropInInferer(**make, budget=Budget())(image, network)  # type: ignore[arg-type]

    assert torch.equal(first, none)
    torch.testing.assert_close(everything, half, rtol=1e-5, atol=1e-5)
    assert (some - half).abs().mean() < (none - half).abs().mean()


def test_everywhere_is_the_sliding_window_after_a_pass_over_the_whole() -> None:
    image, network = torch.randn(1, 1, 60, 41), FixedConv(2, 1, 2)
    assert drop_in_levels(image.shape[2:], 32)[0].roi_size is None
    with torch.no_grad():
        want = SlidingWindowInferer(32, 4, 0.5)(image, network)

    torch.testing.assert_close(DropInInferer(32, 4, 0.5, budget=Budget())(image, network), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [SlidingWindowInferer, SlidingWindowInfererAdapt])
def test_from_an_inferer_that_is_there(kind: type[SlidingWindowInferer]) -> None:
    arguments: dict[str, Any] = {
        "roi_size": (16, 12), "sw_batch_size": 3, "overlap": 0.6, "mode": "gaussian", "sigma_scale": 0.2,
        "padding_mode": "reflect", "cval": 1.0, "progress": True, "cpu_thresh": 12,
    }  # fmt: skip
    made = DropInInferer.of(kind(**arguments, cache_roi_weight_map=True), {"windows": 3})

    for name, value in arguments.items():
        assert getattr(made.settings, name) == value
    assert made.settings.roi_weight_map is not None and made.budget == Budget(windows=3)


@pytest.mark.parametrize(("overlap", "candidates"), [(0.25, 81), (0.5, 81), (0.75, 289)])
def test_windows_are_chosen_at_an_overlap_of_one_half_at_least(overlap: float, candidates: int) -> None:
    inferer = DropInInferer.of(SlidingWindowInferer(16, overlap=overlap), Budget(windows=1))

    assert inferer.overlap == overlap
    assert inferer.run(torch.randn(1, 1, 80, 80), FixedConv(2, 1, 2)).windows_total == candidates


def test_other_settings_keep_it_a_drop_in() -> None:
    image, network = torch.randn(1, 1, 170, 130), FixedConv(2, 1, 2)
    inferer = DropInInferer(32, 4, 0.5)

    other = inferer.with_budget(Budget(windows=0))

    assert isinstance(other, DropInInferer)
    assert other.run(image, network).mosaic.grid_size(0) == inferer.run(image, network).mosaic.grid_size(0)


@pytest.mark.parametrize("inferer", [SliceInferer(roi_size=(16, 16)), IterativeInferer(16)])
def test_what_is_no_sliding_window_is_refused(inferer: Any) -> None:
    with pytest.raises(LevelError, match=f"got {type(inferer).__name__}"):
        DropInInferer.of(inferer)
