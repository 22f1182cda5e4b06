"""Two ways on the same images: hand-computed differences, and the cases in which there is nothing to compare."""

from __future__ import annotations

from math import isnan, nan

import pytest

from monai_dis.metrics import compare_paired


def test_differences_of_the_same_images() -> None:
    compared = compare_paired([0.5, 0.6, 0.7, nan, 0.9], [0.6, 0.65, 0.7, 0.9, nan])
    assert (compared.images, compared.better) == (3, 2)
    assert compared.difference == pytest.approx(0.05)
    assert 0 <= compared.low < 0.05 < compared.high <= 0.1


def test_wilcoxon_of_six_like_differences() -> None:
    """All of 6 ranks on one side: 2 of the 2**6 signs are as extreme, so p = 1 / 32."""
    second = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert compare_paired([0.0] * 6, second).p_value == pytest.approx(1 / 32)
    assert compare_paired(second, [0.0] * 6).p_value == pytest.approx(1 / 32)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Uniform differences with mean 0.5: the interval of 30 of them misses it now and then, not mostly."""
    import numpy as np

    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        compared = compare_paired([0.0] * 30, generator.uniform(0, 1, 30).tolist())
        inside += compared.low <= 0.5 <= compared.high
    assert 33 <= inside < 41


@pytest.mark.parametrize(("first", "second"), [([0.5, 0.6], [0.5, 0.6]), ([0.5], [0.5])])
def test_equal_ways_have_no_p_value(first: list[float], second: list[float]) -> None:
    compared = compare_paired(first, second)
    assert compared.difference == compared.low == compared.high == 0
    assert isnan(compared.p_value)


def test_no_image_in_common() -> None:
    compared = compare_paired([nan], [0.5])
    assert compared.images == 0 and isnan(compared.difference) and isnan(compared.p_value)


def test_values_must_pair_up() -> None:
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        compare_paired([0.5, 0.6], [0.5])
