"""A weighted sum of losses, for configs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_dis.errors import DataError

__all__ = ["SummedLoss"]


class SummedLoss(nn.Module):
    """``sum of weight * loss(logits, target)``: what the field joins freely, and MONAI has in fixed pairs only.

    MONAI's ``DiceCELoss`` takes cross-entropy over classes that exclude each other as soon as there are two channels; for classes
    that may overlap its parts are ``torch.nn.BCEWithLogitsLoss`` and ``monai.losses.DiceLoss(sigmoid=True)``.

    Args:
        losses: each takes logits ``(B, C, *spatial)`` and a target.
        weights: one for each; 1 where not given.

    Raises:
        DataError: when there are not as many weights as losses.

    Example:
        >>> import torch
        >>> loss = SummedLoss([nn.L1Loss(), nn.MSELoss()], [2.0, 0.5])
        >>> float(loss(torch.full((1, 1, 4), 2.0), torch.zeros(1, 1, 4)))
        6.0
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(1.0 for _ in losses) if weights is None else tuple(float(w) for w in weights)
        if len(self.losses) != len(self.weights) or not self.weights:
            raise DataError(f"{len(self.losses)} losses do not fit {len(self.weights)} weights; give one for each.")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum as a scalar tensor."""
        terms = [weight * loss(logits, target) for weight, loss in zip(self.weights, self.losses, strict=True)]
        total: Tensor = sum(terms[1:], terms[0])
        return total
