"""Judge an answer on the label's grid, whatever grid the network worked on."""

from __future__ import annotations

from torch import Tensor, nn

from monai_dis.inferers.grid import resample

__all__ = ["UpsampledLoss"]


class UpsampledLoss(nn.Module):
    """Enlarge logits linearly to the label's size, then apply ``loss``: a coarse network is trained for the answer that users see.

    Args:
        loss: any MONAI loss on logits ``(B, C, *spatial)`` and labels ``(B, 1 or C, *spatial)``.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``(B, C, *grid)`` against a target ``(B, ?, *spatial)`` as a scalar tensor."""
        size = tuple(target.shape[2:])
        enlarged = logits if tuple(logits.shape[2:]) == size else resample(logits, size)
        value: Tensor = self.loss(enlarged, target)
        return value
