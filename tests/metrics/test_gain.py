"""Share of the oracle's gain, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from monai_dis.metrics import gain_recall

# The oracle's gain with 1, 2, 3, 4 windows is 4, 7, 8, 8: it leaves out the last window, which spoils the image.
GAINS = [4.0, 1.0, 3.0, -2.0]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param([0, 2, 1], [1.0, 1.0, 1.0], id="the-oracle-itself"),
        pytest.param([0, 2, 1, 3], [1.0, 1.0, 1.0, 6 / 8], id="and-one-too-many"),
        pytest.param([3, 1, 2, 0], [-2 / 4, -1 / 7, 2 / 8, 6 / 8], id="the-worst-order"),
        pytest.param([1], [1 / 4], id="one-window"),
        pytest.param([], [], id="no-window"),
    ],
)
def test_by_hand(order: list[int], expected: list[float]) -> None:
    assert gain_recall(GAINS, order).tolist() == pytest.approx(expected)


def test_where_nothing_can_be_gained_there_is_no_share() -> None:
    assert all(math.isnan(value) for value in gain_recall([0.0, -1.0], [1, 0]).tolist())


def test_no_choice_beats_the_oracle() -> None:
    gains = torch.randn(30, dtype=torch.float64)
    for _ in range(20):
        assert float(gain_recall(gains, torch.randperm(30)).max()) <= 1 + 1e-12


@pytest.mark.parametrize("order", [[0, 0], [4], [-1]])
def test_an_order_that_is_none(order: list[int]) -> None:
    with pytest.raises(ValueError, match="each of the 4 windows at most once"):
        gain_recall(GAINS, order)
