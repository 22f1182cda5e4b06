"""Sparse windows that join the average of a dense pass, and the selection that looks for window borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.inferers.plan import plan_sparse_levels
from monai_dis.inferers.score import WindowScores, score_windows
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.windows import window_grid
from monai_dis.testing.networks import FixedConv

SHAPES = [
    pytest.param((2, 1, 40, 50), (16, 16), id="2d-batch"),
    pytest.param((1, 2, 41, 9), (16, 10), id="2d-odd"),
    pytest.param((1, 2, 20, 9, 30), (8, 12, 8), id="3d-one-axis-smaller"),
    pytest.param((1, 1, 61), (16,), id="1d"),
]


def averaged(roi: Any, mode: str = "gaussian", budget: Budget | None = None, **changes: Any) -> IterativeInferer:
    levels = [Level(1, roi_size=roi, overlap=0), Level(1, overlap=0.5, merge="average", selection="depth")]
    return IterativeInferer(roi, 3, 0.5, mode, levels=levels, budget=budget, **changes)


def sliding(image: Tensor, roi: Any, overlap: float, mode: str, network: Any) -> Tensor:
    with torch.no_grad():
        answer = SlidingWindowInferer(roi, 3, overlap, mode)(image, network)
    assert isinstance(answer, Tensor)
    return answer


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_from_overlap_none_to_overlap_one_half(shape: tuple[int, ...], roi: tuple[int, ...], mode: str) -> None:
    image, network = torch.randn(shape), FixedConv(len(shape) - 2, shape[1], 3)
    half = sliding(image, roi, 0.5, mode, network)
    nothing = averaged(roi, mode, Budget(windows=0))(image, network)
    everything = averaged(roi, mode).run(image, network)

    assert torch.equal(nothing, sliding(image, roi, 0.0, mode, network))
    torch.testing.assert_close(everything.logits(), half, rtol=1e-5, atol=1e-5)
    assert everything.statistics.fraction_of_sliding_window == pytest.approx(1.0)
    distances = [
        float((averaged(roi, mode, Budget(windows=n))(image, network) - half).abs().mean()) for n in range(0, 40, 4)
    ]
    assert distances[0] > 0.01 and distances == sorted(distances, reverse=True)


@given(
    size=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    roi=st.lists(st.integers(1, 10).map(lambda n: 2 * n), min_size=3, max_size=3),
    mode=st.sampled_from(["constant", "gaussian"]),
)
def test_everywhere_is_one_sliding_window(size: list[int], roi: list[int], mode: str) -> None:
    image, window = torch.randn(1, 1, *size), tuple(roi[: len(size)])
    network = FixedConv(len(size), 1, 2)

    got = averaged(window, mode)(image, network)

    torch.testing.assert_close(got, sliding(image, window, 0.5, mode, network), rtol=1e-4, atol=1e-5)


def test_no_window_runs_twice() -> None:
    image = torch.randn(1, 1, 40, 50)
    settings = averaged((16, 16)).settings
    (plan,) = plan_sparse_levels(settings, image)
    dense = {tuple(c) for c in window_grid((40, 50), (16, 16), 0.0).corners.tolist()}

    result = averaged((16, 16)).run(image, FixedConv(2, 1, 2))

    assert {tuple(plan.windows.corners[i]) for i in plan.done} == dense
    assert not dense & {w.grid_corner for w in result.windows}
    assert result.windows_total == len(plan.windows) - len(dense) == len(result.windows)


def scores_of(uncertain: Tensor, roi: int, overlap: float, parts: int = 8) -> WindowScores:
    windows = window_grid(uncertain.shape[2:], (roi,) * (uncertain.ndim - 2), overlap)
    return score_windows(uncertain, None, windows, parts=parts)


def test_windows_across_the_border_where_it_is_uncertain() -> None:
    """Windows of 16 at 0, 16, 32 ran; voxels 15 and 16 lie at a border, 24 in the middle of one, 31 and 32 at the next."""
    uncertain = torch.zeros(1, 1, 48)
    uncertain[..., 15:17], uncertain[..., 24], uncertain[..., 31:33] = 0.6, 1.0, 0.4
    scores = scores_of(uncertain, 16, 0.5)  # starts 0, 8, 16, 24, 32

    chosen, gains = select_windows(scores, 0, selection="depth", done=[0, 2, 4])

    assert chosen.tolist() == [1, 3]
    # Both are brought from a border cell (depth 1/4 of the way) to the middle: half of 3/4 of their uncertainty, over 16.
    np.testing.assert_allclose(gains, [0.5 * 0.75 * 1.2 / 16, 0.5 * 0.75 * 0.8 / 16], rtol=1e-6)


def test_depth_centres_what_coverage_would_cut() -> None:
    """One uncertain voxel: every window over it covers it alike, one has it in its middle."""
    uncertain = torch.zeros(1, 1, 64)
    uncertain[..., 30] = 1.0
    # With an overlap of 3/4 of 16: starts 0, 4, ... 48; windows from 16 to 28 hold voxel 30.
    by_depth, _ = select_windows(scores_of(uncertain, 16, 0.75), 0, limit=1, selection="depth")
    by_coverage, _ = select_windows(scores_of(uncertain, 16, 0.75, parts=1), 0, limit=1)

    assert by_coverage.tolist() == [4] and by_depth.tolist() == [5]  # voxels 16-31 and 20-35


def test_the_edge_of_the_image_is_no_border() -> None:
    uncertain = torch.zeros(1, 1, 48)
    uncertain[..., 0] = 1.0
    chosen, gains = select_windows(scores_of(uncertain, 16, 0.5), 0, limit=1, selection="depth")

    assert chosen.tolist() == [0] and gains[0] == pytest.approx(1 / 16)


def test_a_smaller_choice_is_the_beginning_of_a_larger_one() -> None:
    scores = scores_of(torch.rand(1, 1, 40, 30), 12, 0.5)
    everything, _ = select_windows(scores, 0, selection="depth", done=[3, 7])

    assert sorted([*everything.tolist(), 3, 7]) == list(range(scores.score[0].size))
    for limit in (0, 1, 5, 11):
        some, _ = select_windows(scores, 0, limit=limit, selection="depth", done=[3, 7])
        assert some.tolist() == everything.tolist()[:limit]


def test_slabs_have_the_bits_of_the_whole() -> None:
    image, network = torch.randn(1, 1, 24, 30), FixedConv(2, 1, 2)
    mosaic = averaged((8, 8), budget=Budget(windows=9)).run(image, network).mosaic
    whole = mosaic.compose()

    for start in range(0, 24, 5):
        region = (slice(start, min(start + 5, 24)), slice(3, 29))
        assert torch.equal(mosaic.compose(region), whole[:, :, region[0], region[1]])


def test_a_share_of_the_sliding_window() -> None:
    image, network = torch.randn(1, 1, 30, 30, 30), FixedConv(3, 1, 2)

    result = averaged((8, 8, 8), budget=Budget(sliding_window=0.4)).run(image, network)

    share = result.statistics.fraction_of_sliding_window
    one_window = 1 / 7**3
    assert 0.4 - one_window < share <= 0.4


@pytest.mark.parametrize(
    "levels",
    [
        [Level(1), Level(1, merge="average")],
        [Level(2, roi_size=8), Level(1, merge="average")],
        [Level(1, roi_size=8), Level(1), Level(1, merge="average")],
    ],
)
def test_average_without_windows_below_is_refused(levels: list[Level]) -> None:
    with pytest.raises(LevelError, match="level 0 in windows"):
        IterativeInferer(8, levels=levels)(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))


@pytest.mark.parametrize("choice", [{"score": "poster"}, {"aggregate": "max"}])
def test_depth_needs_sums(choice: dict[str, str]) -> None:
    with pytest.raises(LevelError, match="adds up the uncertainty"):
        IterativeInferer(8, selection="depth", **choice)(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))  # type: ignore[arg-type]
