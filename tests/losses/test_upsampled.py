"""The loss of a coarse answer is the loss of what a user sees of it."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss

from monai_dis.inferers.grid import resample
from monai_dis.losses import UpsampledLoss


def test_coarse_logits_are_judged_on_the_labels_grid() -> None:
    logits, target = torch.randn(2, 1, 6, 5), (torch.rand(2, 1, 24, 20) > 0.5).float()
    loss = DiceCELoss(sigmoid=True)
    assert torch.equal(UpsampledLoss(loss)(logits, target), loss(resample(logits, (24, 20)), target))


def test_logits_on_the_labels_grid_are_left_alone() -> None:
    logits, target = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    loss = DiceCELoss(sigmoid=True)
    assert torch.equal(UpsampledLoss(loss)(logits, target), loss(logits, target))
