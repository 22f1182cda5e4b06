"""The budget that stops where windows are no longer expected to gain anything."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.errors import BudgetError, LevelError
from monai_dis.inferers import Budget, ExpectedGain, IterativeInferer, Level
from monai_dis.pipeline.modes import run_budget

CURVE = ExpectedGain(scores=(0.1, 0.2, 0.4, 0.8), gains=(-0.01, 0.0, 0.1, 0.1))


@pytest.mark.parametrize(
    ("score", "gain"), [(0.0, -0.01), (0.1, -0.01), (0.15, -0.005), (0.3, 0.05), (0.4, 0.1), (0.6, 0.1), (1.0, 0.1)]
)
def test_gain_of_a_score(score: float, gain: float) -> None:
    assert CURVE.of(score) == pytest.approx(gain)


@pytest.mark.parametrize(
    ("gain", "score"),
    [(-0.02, 0.0), (-0.005, 0.15), (0.0, 0.2), (0.05, 0.3), (0.1, 0.4), (0.11, float("inf"))],
)
def test_lowest_score_of_a_gain(gain: float, score: float) -> None:
    assert CURVE.lowest_score(gain) == pytest.approx(score)


@given(gain=st.floats(-0.009, 0.1))
def test_the_lowest_score_promises_the_gain(gain: float) -> None:
    lowest = CURVE.lowest_score(gain)
    assert CURVE.of(lowest) == pytest.approx(gain, abs=1e-9)
    assert CURVE.of(lowest - 1e-3) < gain


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"scores": [0, 1], "gains": [0]}, "as many scores as gains"),
        ({"scores": [], "gains": []}, "as many scores as gains"),
        ({"scores": [0, 0], "gains": [0, 1]}, "ascending scores"),
        ({"scores": [0, 1], "gains": [1, 0]}, "never fall"),
        ({"scores": [0, 1], "gains": [0, float("nan")]}, "never fall"),
        ({"scores": [0, 1]}, "a mapping of scores, gains and perhaps a floor"),
        ([0, 1], "a mapping of scores, gains and perhaps a floor"),
        ({"scores": [0, 1], "gains": [0, 1], "floor": -0.1}, "floor of expected_gain must be a finite number"),
        ({"scores": [0, 1], "gains": [0, 1], "floor": "auto"}, "floor of expected_gain must be a finite number"),
    ],
)
def test_a_curve_out_of_order_is_refused(entry: object, words: str) -> None:
    with pytest.raises(LevelError, match=words):
        Level(2, expected_gain=entry)  # type: ignore[arg-type]


def halves() -> torch.Tensor:
    """Two images of logits: certain but for a strip that is a coin toss, of 8 rows in the first and of 16 in the second."""
    images = torch.full((2, 1, 32, 32), 50.0)
    images[0, :, :8] = 0.0
    images[1, :, :16] = 0.0
    return images


def test_an_easy_image_costs_less_than_a_hard_one() -> None:
    result = IterativeInferer(8, 4, 0, levels=[1, 1], budget="auto").run(halves(), lambda x: x)
    assert [sum(w.image == image for w in result.windows) for image in (0, 1)] == [4, 8]
    assert all(w.corner[0] < 8 * (1 + w.image) for w in result.windows)


def test_each_level_has_a_floor_of_its_own() -> None:
    """The same scores promise nothing at the first level and enough at the second."""
    nothing = {"scores": [0, 1], "gains": [0, 0.001]}
    levels = [Level(1), Level(1, expected_gain=nothing), Level(1)]
    result = IterativeInferer(8, 4, 0, levels=levels, budget=Budget(min_gain=0.1)).run(halves(), lambda x: x)
    assert {w.level for w in result.windows} == {2}


def test_auto_stops_at_the_floor_of_each_level() -> None:
    """The strip's windows promise 0.1: under the floor of one level, over that of the other."""
    little, enough = ({"scores": [0, 1], "gains": [0, 0.1], "floor": floor} for floor in (0.2, 0.05))
    levels = [Level(1), Level(1, expected_gain=little), Level(1, expected_gain=enough)]
    result = IterativeInferer(8, 4, 0, levels=levels, budget="auto").run(halves(), lambda x: x)
    assert {w.level for w in result.windows} == {2}
    assert len(result.windows) == 12


def test_a_floor_and_a_limit_together() -> None:
    result = IterativeInferer(8, 4, 0, levels=[1, 1], budget=Budget(min_gain=0.1, windows=3)).run(halves(), lambda x: x)
    assert [sum(w.image == image for w in result.windows) for image in (0, 1)] == [3, 3]


def test_gain_is_not_read_off_sums() -> None:
    with pytest.raises(LevelError, match="use the aggregate mean, or give level 1 an expected_gain"):
        IterativeInferer(8, aggregate="sum", budget="auto")(torch.zeros(1, 1, 32, 32), lambda x: x)
    curve = {"scores": [0, 64], "gains": [0, 0.5]}
    told = IterativeInferer(8, 4, 0, levels=[1, Level(1, expected_gain=curve)], aggregate="sum", budget="auto")
    assert len(told.run(halves(), lambda x: x).windows) == 12


def test_auto_by_name() -> None:
    inferer = IterativeInferer(8)
    assert Budget.of("auto") == Budget.of_share("auto") == Budget.auto()
    assert run_budget(inferer, "dis", operations="auto", windows=5) == Budget(
        min_gain=Budget.auto().min_gain, windows=5
    )
    assert run_budget(inferer, "dis", operations=0.5) == Budget(operations=0.5)
    assert Budget.of({"min_gain": "auto"}) == Budget.auto() != Budget(min_gain=0.002)
    with pytest.raises(BudgetError, match="coverage must be a finite number of 0 or more, got 'auto'"):
        Budget(coverage="auto")  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="'auto' or None, got 'everywhere'"):
        Budget.of("everywhere")
    with pytest.raises(BudgetError, match="finite number of 0 or more, got 'much'"):
        Budget.of_share("much")
