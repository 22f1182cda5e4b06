"""Error mass inside chosen windows, counted by hand."""

from __future__ import annotations

from math import isnan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.inferers.windows import window_grid
from monai_dis.metrics import oracle_recall


def error() -> torch.Tensor:
    """8 x 8 pixels in four quarters of 4 x 4: errors 8, 1, 1 and 6."""
    e = torch.zeros(1, 1, 8, 8)
    e[..., 0, :] = 0
    e[0, 0, :4, :4], e[0, 0, :4, 4:], e[0, 0, 4:, :4], e[0, 0, 4:, 4:] = 8 / 16, 1 / 16, 1 / 16, 6 / 16
    return e


@pytest.mark.parametrize(
    ("chosen", "want", "best"),
    [
        ([], 0, 0),
        ([0], 8 / 16, 8 / 16),
        ([1], 1 / 16, 8 / 16),
        ([1, 2], 2 / 16, 14 / 16),
        ([3, 0], 14 / 16, 14 / 16),
        ([0, 1, 2, 3], 1, 1),
    ],
)
def test_quarters(chosen: list[int], want: float, best: float) -> None:
    found = oracle_recall(error(), window_grid((8, 8), (4, 4), 0.0), chosen)
    assert (found.chosen, found.best) == (pytest.approx(want, abs=1e-6), pytest.approx(best, abs=1e-6))
    if best:
        assert found.ratio == pytest.approx(want / best, abs=1e-5)


def test_ground_that_two_windows_cover_counts_once() -> None:
    windows = window_grid((4, 8), (4, 4), 0.5)  # columns 0-3, 2-5, 4-7
    e = torch.zeros(1, 1, 4, 8)
    e[..., 2:4] = 1.0
    assert oracle_recall(e, windows, [0, 1]).chosen == pytest.approx(1.0)
    assert oracle_recall(e, windows, [2]).chosen == 0.0


def test_error_on_a_coarser_grid() -> None:
    """One pixel of 2 x 2 stands for a quarter of the field of view."""
    e = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]])
    assert oracle_recall(e, window_grid((8, 8), (4, 4), 0.0), [3]).chosen == pytest.approx(0.25)


def test_without_error_there_is_nothing_to_find() -> None:
    found = oracle_recall(torch.zeros(1, 1, 8, 8), window_grid((8, 8), (4, 4), 0.0), [0])
    assert isnan(found.chosen) and isnan(found.ratio)


@given(seed=st.integers(0, 99), count=st.integers(1, 9))
def test_no_choice_beats_the_best_by_more_than_greed_loses(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    e = torch.rand((1, 1, 12, 12), generator=generator) ** 4
    windows = window_grid((12, 12), (6, 6), 0.5)
    chosen = torch.randperm(len(windows), generator=generator)[:count].tolist()
    found = oracle_recall(e, windows, chosen)
    assert 0 <= found.chosen <= 1
    assert found.best >= (1 - 1 / 2.718281828) * found.chosen - 1e-9
