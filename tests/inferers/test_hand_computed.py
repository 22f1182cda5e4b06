"""One 6 x 6 example that a person can check on paper: scores, choices, budgets and merging, as tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_dis.inferers.budget import Budget, Spending, WindowCost, affordable_windows
from monai_dis.inferers.merge import average_windows, fade, importance_map, merge_below
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.score import score_windows, uncertainty
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.windows import window_grid

# "." is certain, "h" half uncertain (p = 0.75), "X" a coin toss (p = 0.5).
PICTURE = """
. . . . . .
. X X . . .
. X X . . .
. . . h h .
. . . h h .
. . . . . X
"""
LOGIT = {".": 100.0, "h": math.log(3.0), "X": 0.0}
LOGITS = torch.tensor([[LOGIT[c] for c in row.split()] for row in PICTURE.strip().splitlines()])[None, None]
UNSURE = uncertainty(LOGITS, "least_confidence", activation="sigmoid")

CONTIGUOUS = window_grid((6, 6), 2, 0.0)  # 3 x 3 windows
FINE = window_grid((6, 6), 2, 0.5)  # 5 x 5 windows, one voxel apart


def test_uncertainty_of_the_picture() -> None:
    want = [[{".": 0.0, "h": 0.5, "X": 1.0}[c] for c in row.split()] for row in PICTURE.strip().splitlines()]
    torch.testing.assert_close(UNSURE[0, 0], torch.tensor(want), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("aggregate", "want"),
    [
        pytest.param("sum", [[1, 1, 0], [1, 1.5, 0.5], [0, 0.5, 1.5]], id="sum"),
        pytest.param("mean", [[0.25, 0.25, 0], [0.25, 0.375, 0.125], [0, 0.125, 0.375]], id="mean"),
        pytest.param("max", [[1, 1, 0], [1, 1, 0.5], [0, 0.5, 1]], id="max"),
    ],
)
def test_scores_of_contiguous_windows(aggregate: str, want: list[list[float]]) -> None:
    scores = score_windows(UNSURE, None, CONTIGUOUS, aggregate)

    np.testing.assert_allclose(scores.score[0], want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "aggregate"), [pytest.param(2, "mean", id="half-grid"), pytest.param(3, "mean", id="third-grid")]
)
def test_a_map_on_another_grid_scores_alike(scale: int, aggregate: str) -> None:
    """A map that is constant over blocks scores the same on its own grid and on the windows' grid."""
    small = torch.rand(1, 1, 6 // scale, 6 // scale)
    large = small.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    np.testing.assert_allclose(
        score_windows(small, None, FINE, aggregate).score,
        score_windows(large, None, FINE, aggregate).score,
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("windows", "selection", "limit", "min_score", "want"),
    [
        # Ties go to the lower index: 4 before 8, then 0, 1, 3, then 5, 7, then 2, 6.
        pytest.param(CONTIGUOUS, "ranked", None, None, [4, 8, 0, 1, 3, 5, 7, 2, 6], id="contiguous-ranked"),
        pytest.param(CONTIGUOUS, "coverage", None, None, [4, 8, 0, 1, 3, 5, 7, 2, 6], id="contiguous-coverage"),
        pytest.param(CONTIGUOUS, "ranked", 3, None, [4, 8, 0], id="contiguous-three"),
        pytest.param(CONTIGUOUS, "ranked", None, 0.25, [4, 8, 0, 1, 3], id="contiguous-floor"),
        pytest.param(CONTIGUOUS, "coverage", 0, None, [], id="none"),
        # Ranked stays on the block of X: (1, 1), then its neighbours (0, 1), (1, 0), (1, 2), (2, 1), all at 0.5.
        pytest.param(FINE, "ranked", 5, None, [6, 1, 5, 7, 11], id="fine-ranked"),
        # Coverage goes on to the block of h at (3, 3), then to the lone X at (4, 4).
        pytest.param(FINE, "coverage", 3, None, [6, 18, 24], id="fine-coverage"),
        pytest.param(FINE, "coverage", None, 0.3, [6, 18], id="fine-coverage-floor"),
    ],
)
def test_choices(windows: object, selection: str, limit: int | None, min_score: float | None, want: list[int]) -> None:
    scores = score_windows(UNSURE, None, windows, "mean")  # type: ignore[arg-type]

    indices, _ = select_windows(scores, 0, limit=limit, min_score=min_score, selection=selection)

    assert indices.tolist() == want


def test_coverage_scores_are_what_is_left() -> None:
    _, gains = select_windows(score_windows(UNSURE, None, FINE, "mean"), 0, limit=4)

    # The block of X in full, the block of h in full, one X in four voxels; then all is covered.
    np.testing.assert_allclose(gains, [1.0, 0.5, 0.25, 0.0], rtol=0, atol=1e-6)


def test_coverage_takes_every_window_when_nothing_is_left_to_gain() -> None:
    indices, _ = select_windows(score_windows(UNSURE, None, FINE, "mean"), 0)

    assert sorted(indices.tolist()) == list(range(25))


@pytest.mark.parametrize("aggregate", ["mean", "sum", "max"])
def test_coverage_is_the_plain_greedy_choice(aggregate: str) -> None:
    """Rescoring only the neighbours gives what rescoring everything would."""
    unsure = torch.rand(1, 1, 13, 17)
    windows = window_grid((13, 17), (5, 4), 0.6)
    scores = score_windows(unsure, None, windows, aggregate)

    left = unsure.clone()
    want: list[int] = []
    for _ in range(12):
        again = score_windows(left, None, windows, aggregate).score[0].reshape(-1)
        again[want] = -1
        best = int(again.argmax())
        want.append(best)
        a, b = windows.corners[best]
        left[..., a : a + 5, b : b + 4] = 0

    assert select_windows(scores, 0, limit=12)[0].tolist() == want


def test_the_posters_score_prefers_what_entropy_puts_last() -> None:
    """3 x 3 windows: certain background; a certain border, a third inside; a vague quarter; a coin toss."""
    p = torch.zeros(1, 1, 6, 6)
    p[..., :3, 3] = 1.0
    p[..., 3:, :3] = 0.25
    p[..., 3:, 3:] = 0.5
    windows = window_grid((6, 6), 3, 0.0)

    poster = score_windows(None, p, windows)
    np.testing.assert_allclose(poster.score[0], [[0.0, 1 / 3], [0.25, 0.5]], rtol=0, atol=1e-6)
    assert select_windows(poster, 0, selection="ranked")[0].tolist() == [3, 1, 2, 0]

    entropy = uncertainty(torch.logit(p, eps=1e-30), "entropy", activation="sigmoid")
    by_entropy = score_windows(entropy, None, windows)
    np.testing.assert_allclose(by_entropy.score[0], [[0.0, 0.0], [0.8112781, 1.0]], rtol=0, atol=1e-5)
    assert select_windows(by_entropy, 0, selection="ranked")[0].tolist() == [3, 2, 0, 1]


def test_the_posters_score_takes_the_class_nearest_one_half() -> None:
    p = torch.tensor([0.05, 0.55, 0.4]).reshape(1, 3, 1, 1).expand(1, 3, 6, 6)

    score = score_windows(None, p, window_grid((6, 6), 6, 0.0)).score

    np.testing.assert_allclose(score, [[[0.45]]], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "activation", "p", "want"),
    [
        pytest.param("entropy", "softmax", [0.5, 0.5], 1.0, id="entropy-2"),
        pytest.param("entropy", "softmax", [0.25, 0.25, 0.25, 0.25], 1.0, id="entropy-4"),
        pytest.param("entropy", "softmax", [0.5, 0.25, 0.25, 0.0], 0.75, id="entropy-uneven"),
        pytest.param("margin", "softmax", [0.7, 0.2, 0.1], 0.5, id="margin"),
        pytest.param("least_confidence", "softmax", [0.6, 0.2, 0.2], 0.6, id="least-confidence"),
        pytest.param("entropy", "sigmoid", [0.5, 0.0], 1.0, id="entropy-overlapping"),
        pytest.param("margin", "sigmoid", [0.75], 0.5, id="margin-one"),
        pytest.param("least_confidence", "sigmoid", [0.9, 0.2], 0.4, id="least-confidence-overlapping"),
    ],
)
def test_uncertainty_of_one_voxel(method: str, activation: str, p: list[float], want: float) -> None:
    values = torch.tensor(p, dtype=torch.float64).reshape(1, -1, 1)
    logits = torch.log(values.clamp(min=1e-30)) if activation == "softmax" else torch.logit(values, eps=1e-15)

    assert float(uncertainty(logits, method, activation=activation)) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("method", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_uncertainty_is_a_number_whatever_the_network_says(method: str, value: float, activation: str) -> None:
    logits = torch.tensor([[[value, 0.0], [0.0, 1.0]]])

    got = uncertainty(logits, method, activation=activation)

    assert bool(((got >= 0) & (got <= 1)).all())


# Contiguous 2 x 2 windows of a 6 x 6 image take a ninth of it; one costs 10 of the 90 of a full pass, the coarse pass 15.
COST = WindowCost(share=1 / 9, operations=10, full_pass=90)


@pytest.mark.parametrize(
    ("budget", "want"),
    [
        pytest.param(Budget(), None, id="everywhere"),
        pytest.param(Budget(windows=0), 0, id="no-windows"),
        pytest.param(Budget(windows=4), 4, id="windows"),
        pytest.param(Budget(coverage=0.35), 3, id="coverage"),
        pytest.param(Budget(coverage=1 / 3), 3, id="coverage-exactly"),
        pytest.param(Budget(coverage=0.0), 0, id="coverage-none"),
        pytest.param(Budget(coverage=1.0), None, id="coverage-all"),
        pytest.param(Budget(operations=0.5), 3, id="operations"),  # (45 - 15) / 10
        pytest.param(Budget(operations=0.1), 0, id="coarse-pass-alone-costs-more"),
        pytest.param(Budget(operations=25 / 90), 1, id="operations-exactly"),
        pytest.param(Budget(windows=2, coverage=0.35, operations=0.5), 2, id="first-that-binds"),
        pytest.param(Budget(windows=9, coverage=0.12, operations=0.5), 1, id="coverage-binds"),
    ],
)
def test_windows_that_a_budget_buys(budget: Budget, want: int | None) -> None:
    assert affordable_windows(budget, Spending(operations=15), COST) == want


def test_what_is_spent_is_spent() -> None:
    spent = Spending(operations=15).plus(2, COST)

    assert affordable_windows(Budget(windows=3), spent, COST) == 1
    assert affordable_windows(Budget(coverage=0.35), spent, COST) == 1
    assert affordable_windows(Budget(operations=0.5), spent, COST) == 1


def test_overlapping_windows_are_averaged() -> None:
    """Row of six, windows of three at 0 and 2: their answers 3 and 5 meet in voxel 2; voxel 5 has no window."""
    like = torch.zeros(1, 1, 6)
    windows = [(0, (0,), torch.full((1, 3), 3.0), None), (0, (2,), torch.full((1, 3), 5.0), None)]

    mean, weight = average_windows(windows, importance_map((3,)), like, [0])

    assert mean.tolist() == [[[3.0, 3.0, 4.0, 5.0, 5.0, 0.0]]]
    assert weight.tolist() == [[[1.0, 1.0, 2.0, 1.0, 1.0, 0.0]]]


@pytest.mark.parametrize(
    ("merge", "want"),
    [
        pytest.param("replace", [0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8], id="replace"),
        # Radius 1: a third, two thirds, then the whole answer up to the image's border, which is no border to fade at.
        pytest.param("blend", [0, 0, 0, 0, 8 / 3, 16 / 3, 8, 8, 8, 8, 8, 8], id="blend"),
        # The coarse answer is a coin toss (weight 0), the window's nearly certain: entropy of a logit of 8 is 0.0044.
        pytest.param("entropy", [0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8], id="entropy"),
    ],
)
def test_merging_with_the_level_below(merge: str, want: list[float]) -> None:
    """A row of twelve with coarse logits 0; the one window, at 4 to 11, answers 8."""
    mosaic = Mosaic(torch.zeros(1, 1, 1), (12,), "sigmoid", [Layer((12,), (8,), merge)])

    mosaic.add_windows(1, [0], [(4,)], torch.full((1, 1, 8), 8.0))

    torch.testing.assert_close(mosaic.compose()[0, 0], torch.tensor(want).float(), rtol=0, atol=1e-4)


def test_two_uncertain_answers_meet_in_the_middle_by_entropy() -> None:
    base, refined = torch.full((1, 1, 2), 1.0), torch.full((1, 1, 2), -1.0)

    got = merge_below(base, refined, torch.tensor([[[1.0, 0.0]]]), "entropy", "sigmoid")

    assert got.tolist() == [[[0.0, 1.0]]]


def test_the_fade_follows_corners_and_gaps() -> None:
    """6 x 6, radius 1, only the upper left 3 x 3 uncovered: its border fades, also around the inner corner."""
    covered = torch.ones(1, 1, 10, 10, dtype=torch.bool)
    covered[..., 2:5, 2:5] = False

    ninths = (fade(covered, [1, 1])[0, 0] * 9).round().int().tolist()

    assert ninths == [
        [0, 0, 0, 3, 6, 9],
        [0, 0, 0, 3, 6, 9],
        [0, 0, 0, 3, 6, 9],
        [3, 3, 3, 5, 7, 9],
        [6, 6, 6, 7, 8, 9],
        [9, 9, 9, 9, 9, 9],
    ]
