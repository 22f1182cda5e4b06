"""Dice over a set of images: worked out by hand, and against MONAI's."""

from __future__ import annotations

import pytest
import torch
from monai.metrics import compute_dice

from monai_dis.metrics import PooledDice

# Two images of one row; three classes: found in part, absent from both, found in one image where it is not.
PRED = torch.tensor(
    [[[[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[1, 1, 0, 0]]]]
)
TRUTH = torch.tensor(
    [[[[0, 1, 1, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]]]
)


def test_by_hand() -> None:
    measure = PooledDice(3)
    for pred, truth in zip(PRED, TRUTH, strict=True):
        measure.add(pred, truth)
    assert measure.per_image().tolist() == [[2 / 5, 1.0, 1.0], [1.0, 1.0, 0.0]]
    assert measure.pooled().tolist() == pytest.approx([4 / 7, 1.0, 0.0])


def test_of_one_image_both_are_what_monai_computes() -> None:
    pred, truth = torch.rand(2, 9, 8, 7) > 0.5, torch.rand(2, 9, 8, 7) > 0.4
    measure = PooledDice(2)
    measure.add(pred, truth)
    expected = compute_dice(pred[None].float(), truth[None].float())[0].tolist()
    assert measure.pooled().tolist() == pytest.approx(expected)
    assert measure.per_image()[0].tolist() == pytest.approx(expected)


def test_without_images() -> None:
    assert PooledDice(2).per_image().shape == (0, 2)
    assert PooledDice(2).pooled().tolist() == [1.0, 1.0]


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="3 classes need 3 channels"):
        PooledDice(3).add(PRED[0, :2], TRUTH[0, :2])
    with pytest.raises(ValueError, match="1 class at least"):
        PooledDice(0)
