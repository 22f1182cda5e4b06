"""Free-response curves: worked out by hand, against MONAI's, and laws.

::

    truth              probability (tenths)

    A A . . B . C      9 3 . . . . 2      A and C lie under candidates of score .9 and .2, B under none
    . . . . . . .      . . . . . . .
    . . . . . . .      . 7 . . 5 5 .      two candidates on nothing, .7 and .5
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_froc_curve_data

from monai_dis.metrics import FreeResponse
from monai_dis.testing.strategies import spatial_sizes

TRUTH = torch.zeros(1, 3, 7, dtype=torch.uint8)
TRUTH[0, 0, [0, 1, 4, 6]] = 1
PROBABILITIES = torch.zeros(1, 3, 7)
PROBABILITIES[0, 0, [0, 1, 6]] = torch.tensor([0.9, 0.3, 0.2])
PROBABILITIES[0, 2, [1, 4, 5]] = torch.tensor([0.7, 0.5, 0.5])


def _measure(*images: tuple[torch.Tensor, torch.Tensor], **options: float) -> FreeResponse:
    measure = FreeResponse(len(images[0][0]), **options)
    for probabilities, truth in images:
        measure.add(probabilities, truth)
    return measure


def test_by_hand() -> None:
    curve = _measure((PROBABILITIES, TRUTH)).curve(0)
    assert curve.thresholds.tolist() == pytest.approx([math.inf, 0.9, 0.7, 0.5, 0.2])
    assert curve.false_positives_per_image.tolist() == [0, 0, 1, 2, 2]
    assert curve.sensitivity.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3])
    # The last candidate finds C at no further false positive; more than two do not help.
    assert [curve.at(n) for n in (0, 1, 1.5, 2, 8)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_between_two_thresholds_the_sensitivity_is_interpolated() -> None:
    # One lesion and one false positive of the same score: none of both or both.
    curve = _measure((torch.tensor([[[0.5, 0.0, 0.5]]]), torch.tensor([[[1, 0, 0]]]))).curve(0)
    assert [curve.at(n) for n in (0, 0.25, 1)] == [0, 0.25, 1]


def test_an_empty_image_counts_among_the_images() -> None:
    nothing = (PROBABILITIES * 0, TRUTH * 0)
    curve = _measure((PROBABILITIES, TRUTH), nothing, nothing, nothing).curve(0)
    assert curve.false_positives_per_image.tolist() == [0, 0, 1 / 4, 2 / 4, 2 / 4]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [pytest.param(0.21, 1 / 3, id="the-faint-one-is-no-candidate"), pytest.param(0.2, 2 / 3, id="at-the-threshold")],
)
def test_the_threshold_makes_candidates(threshold: float, expected: float) -> None:
    truth = TRUTH.float()
    assert _measure((PROBABILITIES.double(), truth), threshold=threshold).curve(0).at(8) == pytest.approx(expected)


def test_a_candidate_over_two_lesions_finds_the_one_under_its_peak() -> None:
    probabilities, truth = torch.tensor([[[0.4, 0.4, 0.4, 0.8]]]), torch.tensor([[[1, 0, 0, 1]]])
    assert _measure((probabilities, truth)).curve(0).at(8) == 0.5
    assert _measure((probabilities, truth), threshold=0.5).curve(0).at(8) == 0.5


def test_two_candidates_in_one_lesion_are_no_false_positives() -> None:
    curve = _measure((torch.tensor([[[0.4, 0.0, 0.8]]]), torch.ones(1, 1, 3))).curve(0)
    assert curve.false_positives_per_image.max() == 0
    assert curve.sensitivity.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("probabilities", "truth"),
    [
        pytest.param(PROBABILITIES, TRUTH * 0, id="no-lesion"),
        pytest.param(PROBABILITIES * 0, TRUTH * 0, id="neither-lesion-nor-candidate"),
    ],
)
def test_without_lesions_there_is_no_sensitivity(probabilities: torch.Tensor, truth: torch.Tensor) -> None:
    curve = _measure((probabilities, truth)).curve(0)
    assert np.isnan(curve.sensitivity).all()
    assert math.isnan(curve.at(1))


def test_without_candidates_nothing_is_found() -> None:
    curve = _measure((PROBABILITIES * 0, TRUTH)).curve(0)
    assert (curve.at(8), curve.false_positives_per_image.tolist()) == (0.0, [0.0])


def test_without_images_nothing_is_known() -> None:
    assert math.isnan(FreeResponse(1).curve(0).at(1))


_SETS = {"size": st.integers(2, 3).flatmap(spatial_sizes), "seed": st.integers(0, 2**16)}


def _random(size: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes of sparse lesions and candidates; half the candidates lie where lesions are."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand((2, *size), generator=generator) < 0.05
    somewhere = torch.rand((2, *size), generator=generator) < 0.05
    scores = torch.randint(1, 17, (2, *size), generator=generator) / 16
    return scores * (somewhere | (truth & (scores > 0.5))), truth


@given(**_SETS)
def test_the_curve_is_monais_where_that_has_points(size: tuple[int, ...], seed: int) -> None:
    image = _random(size, seed)
    measure = _measure(image, image)
    for index in range(2):
        curve = measure.curve(index)
        false, found = (np.concatenate(part[index]) for part in (measure._false, measure._found))
        if len(found) == 0:
            continue
        fps, sensitivity = compute_froc_curve_data(false, found, len(found), 2)
        ours = set(zip(curve.false_positives_per_image.tolist(), curve.sensitivity.tolist(), strict=True))
        assert set(zip(fps.tolist(), sensitivity.tolist(), strict=True)) <= ours
        # and one point more, of all candidates, where MONAI stops short of it
        assert (curve.false_positives_per_image[-1], curve.sensitivity[-1]) == (len(false) / 2, (found > 0).mean())


@given(**_SETS)
def test_curves_rise_and_twice_the_images_are_the_same_curve(size: tuple[int, ...], seed: int) -> None:
    image = _random(size, seed)
    once, twice = _measure(image), _measure(image, image)
    for index in range(2):
        curve, other = once.curve(index), twice.curve(index)
        np.testing.assert_array_equal(curve.false_positives_per_image, other.false_positives_per_image)
        np.testing.assert_array_equal(curve.sensitivity, other.sensitivity)
        assert (np.diff(curve.false_positives_per_image) >= 0).all()
        assert not (np.diff(curve.sensitivity) < 0).any()
        assert (np.diff(curve.thresholds) < 0).all()


@given(**_SETS)
def test_the_truth_as_probabilities_finds_everything_and_nothing_else(size: tuple[int, ...], seed: int) -> None:
    _, truth = _random(size, seed)
    measure = _measure((truth.float(), truth))
    for index in range(2):
        if truth[index].any():
            assert measure.curve(index).at(0) == 1


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="a probability above 0"):
        FreeResponse(1, threshold=threshold)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="2 classes need 2 channels"):
        FreeResponse(2).add(PROBABILITIES, TRUTH)
    with pytest.raises(ValueError, match="1 class at least"):
        FreeResponse(0)
