"""Precision against recall: worked out by hand, against a definition as plain as can be, and laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.metrics import PrecisionRecall
from monai_dis.testing.strategies import spatial_sizes

# pixel         a    b    c    d    e    f
# probability  .9   .8   .8   .5   .2   .1
# truth         1    0    1    0    1    0
PROBABILITIES = torch.tensor([0.9, 0.8, 0.8, 0.5, 0.2, 0.1])
TRUTH = torch.tensor([1, 0, 1, 0, 1, 0])


def _measure(probabilities: torch.Tensor, truth: torch.Tensor, **options: int) -> PrecisionRecall:
    """One class, all pixels in a row."""
    measure = PrecisionRecall(1, **options)
    measure.add(probabilities.reshape(1, 1, -1), truth.reshape(1, 1, -1))
    return measure


def _definition(probabilities: torch.Tensor, truth: torch.Tensor) -> float:
    """Average precision as its definition reads: at each threshold, count all pixels again."""
    area, before = 0.0, 0.0
    for threshold in sorted(set(probabilities.tolist()), reverse=True):
        called = [bool(t) for p, t in zip(probabilities.tolist(), truth.tolist(), strict=True) if p >= threshold]
        recall = sum(called) / int(truth.sum())
        area += (recall - before) * sum(called) / len(called)
        before = recall
    return area


def test_by_hand() -> None:
    curve = _measure(PROBABILITIES, TRUTH).curve(0)
    assert curve.thresholds.tolist() == pytest.approx([0.9, 0.8, 0.5, 0.2, 0.1], abs=2**-16)
    assert curve.precision.tolist() == pytest.approx([1 / 1, 2 / 3, 2 / 4, 3 / 5, 3 / 6])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 3 / 3, 3 / 3])
    assert curve.area == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 5)


@pytest.mark.parametrize(
    ("probabilities", "truth", "expected"),
    [
        pytest.param(TRUTH.float(), TRUTH, 1.0, id="perfect"),
        pytest.param(1 - TRUTH.float(), TRUTH, 0.5, id="the-reverse-calls-all"),
        pytest.param(torch.full((6,), 0.3), TRUTH, 0.5, id="constant-gives-the-share-of-positives"),
        pytest.param(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0, 1, 0]), 0.5, id="0-and-1-are-bins"),
        pytest.param(PROBABILITIES, TRUTH * 0, math.nan, id="nothing-is-positive"),
        pytest.param(PROBABILITIES, TRUTH * 0 + 1, 1.0, id="everything-is-positive"),
    ],
)
def test_areas(probabilities: torch.Tensor, truth: torch.Tensor, expected: float) -> None:
    assert _measure(probabilities, truth).area(0) == pytest.approx(expected, nan_ok=True)


def test_without_images_there_is_no_area() -> None:
    assert math.isnan(PrecisionRecall(2).area(1))


def test_classes_are_apart() -> None:
    measure = PrecisionRecall(2)
    measure.add(torch.stack([TRUTH.float(), PROBABILITIES])[:, None], torch.stack([TRUTH, TRUTH])[:, None])
    assert measure.area(0) == 1.0
    assert measure.area(1) == pytest.approx(_definition(PROBABILITIES, TRUTH))


@given(size=st.integers(2, 3).flatmap(spatial_sizes), bins=st.sampled_from([1, 7, 64]), seed=st.integers(0, 2**16))
def test_it_is_exact_for_probabilities_cut_down_to_the_bins(size: tuple[int, ...], bins: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand((1, *size), generator=generator)
    truth = (torch.rand((1, *size), generator=generator) < probabilities).to(torch.uint8)
    truth.view(-1)[0] = 1
    measure = PrecisionRecall(1, bins=bins)
    measure.add(probabilities, truth)
    cut = (probabilities * bins).floor().clamp(max=bins - 1).flatten()
    assert measure.area(0) == pytest.approx(_definition(cut, truth.flatten()), rel=1e-9)


@given(images=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_image_by_image_is_all_pixels_at_once(images: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand((2, images, 5, 7), generator=generator)
    truth = torch.rand((2, images, 5, 7), generator=generator) < 0.3
    one_by_one, at_once = PrecisionRecall(2), PrecisionRecall(2)
    at_once.add(probabilities, truth)
    for number in range(images):
        one_by_one.add(probabilities[:, number], truth[:, number])
    for index in range(2):
        assert torch.equal(one_by_one.curve(index).precision, at_once.curve(index).precision)
        assert torch.equal(one_by_one.curve(index).recall, at_once.curve(index).recall)


@given(seed=st.integers(0, 2**16))
def test_only_the_order_of_the_probabilities_counts(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(0, 16, (40,), generator=generator)
    truth = torch.rand(40, generator=generator) < 0.4
    # One rising map of 16 steps and another that bends it.
    straight, bent = steps / 16, (steps / 16) ** 2
    assert _measure(straight, truth).area(0) == pytest.approx(_measure(bent, truth).area(0), nan_ok=True)


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        pytest.param(torch.rand(2, 3, 3), torch.zeros(2, 3, 4), r"the prediction is \(2, 3, 3\)", id="shapes"),
        pytest.param(torch.rand(3, 3, 3), torch.zeros(3, 3, 3), "2 classes need 2 channels", id="channels"),
        pytest.param(torch.full((2, 3), 1.5), torch.zeros(2, 3), "not 1.5 and 1.5", id="logits"),
        pytest.param(torch.full((2, 3), math.nan), torch.zeros(2, 3), "not nan and nan", id="nan"),
    ],
)
def test_what_does_not_fit(probabilities: torch.Tensor, truth: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrecisionRecall(2).add(probabilities, truth)


@pytest.mark.parametrize("arguments", [{"classes": 0}, {"classes": 1, "bins": 0}])
def test_arguments_out_of_range(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 class and 1 bin at least"):
        PrecisionRecall(**arguments)
