"""Exploration: a share of the windows goes where the image has detail that the level below could not see."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.errors import LevelError
from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.inferers.score import lost_detail, score_windows
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.windows import window_grid
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, cases

#                     uncertainty          detail
UNSURE = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.0, 0.0]])[None, None]
DETAIL = torch.tensor([[0.0, 0.1, 0.0, 0.2, 0.3, 0.9]])[None, None]
ROW = window_grid((1, 6), (1, 1), 0.0)


@pytest.mark.parametrize(
    ("exploration", "want"),
    [
        pytest.param(0.0, [0, 1, 2, 3, 4, 5], id="none"),
        pytest.param(0.5, [0, 5, 1, 4, 2, 3], id="every second"),
        pytest.param(0.34, [0, 1, 5, 2, 3, 4], id="every third"),
        pytest.param(1.0, [5, 4, 3, 1, 0, 2], id="all"),
    ],
)
@pytest.mark.parametrize("selection", ["ranked", "coverage"])
def test_choices_that_explore(exploration: float, want: list[int], selection: str) -> None:
    scores, explore = score_windows(UNSURE, None, ROW), score_windows(DETAIL, None, ROW)

    chosen, _ = select_windows(scores, 0, selection=selection, explore=explore, exploration=exploration)

    assert chosen.tolist() == want


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    exploration=st.floats(0, 1),
    selection=st.sampled_from(["ranked", "coverage"]),
    few=st.integers(0, 20),
    more=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_a_smaller_budget_is_a_prefix_and_no_window_comes_twice(
    size: tuple[int, int], exploration: float, selection: str, few: int, more: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    windows = window_grid(size, (3, 4), 0.5)
    maps = (torch.rand(2, 1, 1, *size, generator=generator) - 0.5).clamp(min=0)
    scores, explore = (score_windows(m, None, windows) for m in maps)

    def choose(limit: int) -> list[int]:
        chosen, _ = select_windows(
            scores, 0, limit=limit, selection=selection, explore=explore, exploration=exploration
        )
        return chosen.tolist()

    small, large = choose(few), choose(few + more)

    assert large[: len(small)] == small
    assert len(large) == len(set(large)) == min(few + more, len(windows))


def test_the_floor_of_the_score_ends_exploration_too() -> None:
    scores, explore = score_windows(UNSURE, None, ROW), score_windows(DETAIL, None, ROW)

    chosen, _ = select_windows(scores, 0, min_score=0.75, explore=explore, exploration=0.5)

    assert chosen.tolist() == [0, 5, 1, 4]


def test_detail_is_what_a_smaller_grid_takes_away() -> None:
    image = torch.zeros(1, 2, 8, 8)
    image[..., :4] = 5.0
    image[:, 0, 5, 6] = 1.0

    lost = lost_detail(image, (4, 4))

    assert lost.shape == (1, 1, 8, 8)
    assert float(lost.max()) == 1.0
    assert float(lost[0, 0, :, :2].max()) == 0.0
    calm = lost_detail(torch.full((1, 1, 8, 8), 3.0), (2, 2))
    assert calm.unique().tolist() == [0.0]


def test_a_structure_that_the_coarse_network_is_sure_to_miss_is_found() -> None:
    """The coarse answer is the same everywhere; one bright pixel in a calm image draws the exploring window."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., 21, 10] = 1.0

    def certain(x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, -9.0)

    def corners(exploration: float) -> list[tuple[int, ...]]:
        inferer = IterativeInferer(8, overlap=0, budget=Budget(windows=1), exploration=exploration)
        return [window.corner for window in inferer.run(image, certain).windows]

    assert corners(0.0) == [(0, 0)]
    assert corners(1.0) == [(16, 8)]


@given(case=cases(), exploration=st.floats(0, 1))
def test_everywhere_stays_everywhere(case: Case, exploration: float) -> None:
    network = FixedConv(case.dims, case.image.shape[1], case.classes)

    plain = IterativeInferer(**case.windowing)(case.image, network)
    exploring = IterativeInferer(**case.windowing, exploration=exploration)(case.image, network)

    torch.testing.assert_close(exploring, plain, rtol=1e-5, atol=1e-5)


def test_a_share_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(LevelError, match="exploration is a share"):
        Level(1, exploration=1.5)
    with pytest.raises(LevelError, match="exploration is a share"):
        IterativeInferer(8, exploration=-0.1)
