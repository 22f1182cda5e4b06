"""The Lovász hinge: a convex stand-in for the Jaccard index of masks that may overlap.

Letters in shapes: ``B`` batch, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LovaszHingeLoss"]


class LovaszHingeLoss(nn.Module):
    """The Lovász extension of ``1 - Jaccard`` of hinge errors (M. Berman, A. Triki, M. Blaschko, CVPR 2018), mean of the classes.

    Args:
        batch: one index over all images of the batch; one for each, averaged, when False.

    Example:
        >>> logits, target = torch.tensor([[[3.0, -3.0, -1.0]]]), torch.tensor([[[1, 0, 0]]])
        >>> loss = LovaszHingeLoss()
        >>> float(loss(logits, target)), float(loss(-logits, target)) > 1
        (0.0, True)
    """

    def __init__(self, batch: bool = True) -> None:
        super().__init__()
        self.batch = batch

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``(B, C, *spatial)`` against masks of the same shape as a scalar tensor."""
        values, masks = (x.flatten(2).transpose(0, 1) for x in (logits, (target > 0).to(logits.dtype)))
        if self.batch:
            values, masks = values.flatten(1)[:, None], masks.flatten(1)[:, None]
        return torch.stack(
            [_hinge(v, m) for v, m in zip(values.flatten(0, 1), masks.flatten(0, 1), strict=True)]
        ).mean()


def _hinge(logits: Tensor, mask: Tensor) -> Tensor:
    errors, order = (1 - logits * (2 * mask - 1)).sort(descending=True)
    truth = mask[order]
    total = truth.sum()
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return errors.relu() @ steps
