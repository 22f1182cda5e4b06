"""A loss for the order of the answers: soft average precision.

Letters in shapes: ``B`` batch, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_dis.errors import DataError

__all__ = ["AveragePrecisionLoss"]


class AveragePrecisionLoss(nn.Module):
    """One minus the average precision over all pixels of the batch, mean of the classes that are present.

    Precision at each positive is read off histograms into which every logit falls with linear weights, so that it has a gradient
    (F. Cakir et al., "Deep Metric Learning to Rank", CVPR 2019). Cost and memory are those of a cross-entropy. It says nothing of
    how large a logit is, only of which is larger: add a loss that does (`SummedLoss`).

    Args:
        bins: of the histograms.
        bound: logits are bounded by ``bound * tanh(x / bound)`` first.
        negative_weight: how many negatives each stands for: windows around lesions hold a smaller share of background than
            photographs do, and there precision falls sooner.

    Raises:
        DataError: when an argument is out of range.

    Example:
        >>> logits = torch.tensor([[[2.0, 1.0, -1.0, -2.0]]])
        >>> loss = AveragePrecisionLoss()
        >>> [round(float(loss(logits, torch.tensor([[t]]))), 1) for t in ([1, 1, 0, 0], [0, 0, 1, 1])]
        [0.0, 0.6]
    """

    def __init__(self, bins: int = 128, bound: float = 8.0, negative_weight: float = 1.0) -> None:
        super().__init__()
        if bins < 2 or not bound > 0 or not negative_weight > 0:
            raise DataError(
                f"bins must be 2 or more, bound and negative_weight above 0, got {bins}, {bound} and {negative_weight}."
            )
        self.bins, self.bound, self.negative_weight = bins, bound, negative_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``(B, C, *spatial)`` against masks of the same shape as a scalar tensor."""
        losses = [
            1 - self._average_precision(own, mask > 0)
            for own, mask in zip(logits.transpose(0, 1).flatten(1), target.transpose(0, 1).flatten(1), strict=True)
            if bool((mask > 0).any())
        ]
        return torch.stack(losses).mean() if losses else 0.0 * logits.sum()

    def _average_precision(self, logits: Tensor, positive: Tensor) -> Tensor:
        place = (torch.tanh(logits / self.bound) + 1) / 2 * (self.bins - 1)
        hit, miss = self._histogram(place[positive]), self.negative_weight * self._histogram(place[~positive])
        # what shares a bin counts as called together
        hits, misses = (h.flip(0).cumsum(0).flip(0) for h in (hit, miss))
        precision = hits / (hits + misses).clamp(min=1e-6)
        return (hit * precision).sum() / hit.sum()

    def _histogram(self, place: Tensor) -> Tensor:
        low = place.detach().floor().clamp(max=self.bins - 2)
        upper = place - low
        counts = place.new_zeros(self.bins)
        counts = counts.index_add(0, low.long(), 1 - upper)
        return counts.index_add(0, low.long() + 1, upper)
