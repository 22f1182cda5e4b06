"""Lesions found and missed, on a map that can be counted by eye.

::

    truth            prediction

    A A . . . B      p p . . . .      A, 4 pixels: 3 are covered, by one predicted lesion
    A A . . . .      p . . . . .      B, 1 pixel: missed
    . . . . . .      . . . . . .      C, 3 pixels, two of them touching at a corner only: 2 are covered, by two
    . C C . . .      . q . . . .      predicted lesions of one pixel and of three
    . . . C . .      . . . r r r      s, 2 pixels, lies on nothing
    . . . . . .      s s . . . .
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.metrics import LesionScores, match_lesions
from monai_dis.testing.strategies import spatial_sizes

TRUTH = torch.zeros(6, 6, dtype=torch.uint8)
TRUTH[:2, :2] = TRUTH[0, 5] = TRUTH[3, 1:3] = TRUTH[4, 3] = 1
PRED = torch.zeros(6, 6, dtype=torch.uint8)
PRED[0, :2] = PRED[1, 0] = PRED[3, 1] = PRED[4, 3:] = PRED[5, :2] = 1


@pytest.mark.parametrize(
    ("overlap", "found", "correct"),
    [
        # In the order of the rows: A, B, C and p, q, r, s.
        pytest.param(0.0, [True, False, True], [True, True, True, False], id="any-pixel"),
        pytest.param(1 / 3, [True, False, True], [True, True, True, False], id="a-third"),
        pytest.param(0.5, [True, False, True], [True, True, False, False], id="half"),
        pytest.param(0.7, [True, False, False], [True, True, False, False], id="more-than-two-thirds"),
        pytest.param(1.0, [False, False, False], [True, True, False, False], id="whole"),
    ],
)
def test_matches_by_hand(overlap: float, found: list[bool], correct: list[bool]) -> None:
    match = match_lesions(PRED, TRUTH, overlap=overlap)
    assert match.sizes.tolist() == [4, 1, 3]
    assert match.found.tolist() == found
    assert match.correct.tolist() == correct


def test_scores_by_hand() -> None:
    scores = LesionScores(2, edges=(2, 4))
    # The second class has one lesion of 9 pixels in the second image, which is missed; nothing is predicted.
    large = torch.zeros(6, 6, dtype=torch.uint8)
    large[:3, :3] = 1
    scores.add(torch.stack([PRED, PRED * 0]), torch.stack([TRUTH, TRUTH * 0]))
    scores.add(torch.stack([PRED, PRED * 0]), torch.stack([TRUTH * 0, large]))
    first, second = scores.score(0), scores.score(1)
    assert (first.lesions, first.predicted, first.recall, first.precision) == (3, 8, 2 / 3, 3 / 8)
    assert first.false_positives_per_image == 5 / 2
    assert first.lesions_by_size == (1, 1, 1)  # B below 2, C from 2 to 3, A from 4 on
    assert first.recall_by_size == (0.0, 1.0, 1.0)
    assert (second.lesions, second.predicted, second.recall, second.false_positives_per_image) == (1, 0, 0.0, 0.0)
    assert math.isnan(second.precision)
    assert second.lesions_by_size == (0, 0, 1)
    assert math.isnan(second.recall_by_size[0])


def test_without_images_nothing_is_known() -> None:
    score = LesionScores(1).score(0)
    assert (score.lesions, score.predicted) == (0, 0)
    assert all(math.isnan(v) for v in (score.recall, score.precision, score.false_positives_per_image))


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    volume = torch.zeros(3, 3, 3)
    volume[0, 0, 0] = volume[1, 1, 1] = volume[2, 2, 2] = 1
    assert match_lesions(volume, volume).sizes.tolist() == [3]


_MAPS = {
    "size": st.integers(2, 3).flatmap(spatial_sizes),
    "density": st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    "seed": st.integers(0, 2**16),
}


def _random(size: tuple[int, ...], density: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred, truth = torch.rand((2, *size), generator=generator) < density
    return pred, truth


@given(**_MAPS)
def test_flipped_and_transposed_the_lesions_are_the_same(size: tuple[int, ...], density: float, seed: int) -> None:
    pred, truth = _random(size, density, seed)
    match = match_lesions(pred, truth)
    turned = match_lesions(pred.flip(0).transpose(0, 1), truth.flip(0).transpose(0, 1))
    for one, other in ((match.sizes, turned.sizes), (match.correct, turned.correct)):
        np.testing.assert_array_equal(np.sort(one), np.sort(other))
    assert sorted(zip(match.sizes, match.found, strict=True)) == sorted(zip(turned.sizes, turned.found, strict=True))


@given(**_MAPS)
def test_what_is_found_at_more_overlap_is_found_at_less(size: tuple[int, ...], density: float, seed: int) -> None:
    pred, truth = _random(size, density, seed)
    strict, loose = match_lesions(pred, truth, overlap=0.6), match_lesions(pred, truth, overlap=0.1)
    assert not (strict.found & ~loose.found).any()
    assert not (strict.correct & ~loose.correct).any()
    assert strict.sizes.sum() == int(truth.sum())


@given(**_MAPS)
def test_the_truth_finds_itself_whole(size: tuple[int, ...], density: float, seed: int) -> None:
    _, truth = _random(size, density, seed)
    match = match_lesions(truth, truth, overlap=1.0)
    assert match.found.all()
    assert match.correct.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"overlap": 1.5}, "share of a lesion, 0 to 1, not 1.5", id="overlap"),
        pytest.param({"edges": (9, 4)}, r"rising sizes of 1 pixel or more, not \[9, 4\]", id="falling-edges"),
        pytest.param({"edges": (0, 4)}, "rising sizes", id="edge-of-nothing"),
        pytest.param({"classes": 0}, "1 class at least", id="no-class"),
    ],
)
def test_arguments_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LesionScores(**{"classes": 1, **options})  # type: ignore[arg-type]


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="bring them to one grid"):
        match_lesions(PRED, TRUTH[:4])
    with pytest.raises(ValueError, match="share of a lesion"):
        match_lesions(PRED, TRUTH, overlap=-0.1)
