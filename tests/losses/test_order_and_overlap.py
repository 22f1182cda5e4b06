"""Losses for order and for overlap: what they are at the ends of their range, and that following them gets there."""

from __future__ import annotations

import pytest
import torch

from monai_dis.errors import DataError
from monai_dis.losses import AveragePrecisionLoss, LovaszHingeLoss
from monai_dis.metrics import PrecisionRecall


def case(seed: int = 0, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 12, 10, generator=generator) * 2
    target = (torch.rand(3, classes, 12, 10, generator=generator) < 0.2).float()
    return logits, target


def test_soft_average_precision_is_near_the_measure() -> None:
    logits, target = case()
    measure = PrecisionRecall(2)
    for own, truth in zip(logits, target, strict=True):
        measure.add((own / 8).tanh() / 2 + 0.5, truth)
    expected = 1 - (measure.area(0) + measure.area(1)) / 2
    assert float(AveragePrecisionLoss(bins=1024)(logits, target)) == pytest.approx(expected, abs=0.01)


def test_negatives_that_stand_for_more_cost_more() -> None:
    """As if each negative were there three times."""
    logits, target = case(classes=1)
    negatives = logits[target == 0]
    many = torch.cat([logits.flatten(), negatives, negatives])[None, None]
    truth = torch.cat([target.flatten(), torch.zeros(2 * len(negatives))])[None, None]
    torch.testing.assert_close(
        AveragePrecisionLoss(negative_weight=3.0)(logits, target), AveragePrecisionLoss()(many, truth)
    )


@pytest.mark.parametrize("loss", [AveragePrecisionLoss(), LovaszHingeLoss(), LovaszHingeLoss(batch=False)])
def test_following_the_gradient_puts_the_positive_first(loss: torch.nn.Module) -> None:
    logits, target = case()
    logits.requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    before = float(loss(logits, target).detach())
    for _ in range(150):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    assert float(loss(logits, target).detach()) < 0.1 < before
    for index in range(2):
        own, truth = logits[:, index].detach(), target[:, index] > 0
        assert own[truth].median() > own[~truth].median() + 0.5


@pytest.mark.parametrize("loss", [AveragePrecisionLoss(), LovaszHingeLoss()])
def test_without_a_positive_there_is_a_gradient_all_the_same(loss: torch.nn.Module) -> None:
    logits = torch.randn(2, 3, 5, 5, requires_grad=True)
    value = loss(logits, torch.zeros(2, 3, 5, 5))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_the_hinge_at_whole_errors_is_one_minus_jaccard() -> None:
    """Logits of +1 and -1 have errors of 0 or 2; there the extension is twice the set function."""
    called, truth = torch.tensor([1, 1, 1, 0, 0, 0]), torch.tensor([1, 1, 0, 1, 0, 0])
    loss = LovaszHingeLoss()((2.0 * called - 1)[None, None], truth[None, None])
    assert float(loss) == pytest.approx(2 * (1 - 2 / 4))


def test_nonsense_is_refused() -> None:
    with pytest.raises(DataError, match="bins must be 2 or more"):
        AveragePrecisionLoss(bins=1)
