"""Networks whose answer is known, so that what is around them can be checked.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConditioningNet", "FixedConv", "PointNet", "TruthNet"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class FixedConv(nn.Module):
    """One convolution of fixed weights that sees its neighbours, so that window borders show.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: ``Ci``.
        out_channels: ``C``.
        symmetric: weights that do not change under flips and transpositions.
        seed: of the weights.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, symmetric: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = _CONVOLUTIONS[spatial_dims](in_channels, out_channels, kernel_size=3, padding=1)
        shape = self.conv.weight.shape
        weight = torch.randn(shape, generator=generator)
        if symmetric:
            # Equal weights for all neighbours at the same number of steps.
            steps = sum(torch.meshgrid(*[torch.tensor([1, 0, 1])] * spatial_dims, indexing="ij"))
            per_step = torch.randn((*shape[:2], spatial_dims + 1), generator=generator)
            weight = per_step[:, :, steps]
        assert self.conv.bias is not None
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(torch.randn(shape[0], generator=generator))

    def forward(self, window: Tensor) -> Tensor:
        """Logits (K, C, *roi) of windows (K, Ci, *roi)."""
        answer: Tensor = self.conv(window)
        return answer


class PointNet(nn.Module):
    """Each voxel on its own: logits are a fixed linear map of the image's channels.

    Args:
        in_channels: ``Ci``.
        out_channels: ``C``.
        seed: of the weights.
    """

    def __init__(self, in_channels: int, out_channels: int, *, seed: int = 0) -> None:
        super().__init__()
        weight = torch.randn(out_channels, in_channels, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(weight)

    def forward(self, window: Tensor) -> Tensor:
        """Logits (K, C, *roi) of windows (K, Ci, *roi)."""
        return torch.einsum("oi,bi...->bo...", self.weight, window)


class ConditioningNet(nn.Module):
    """A refine network that returns what it is told: refinement changes nothing."""

    def forward(self, window: Tensor, conditioning: Tensor) -> Tensor:
        """The conditioning (K, C, *roi)."""
        return conditioning


class TruthNet(nn.Module):
    """A refine network that reads the truth from the image's first channel, which holds it as 0 and 1.

    Args:
        confidence: logit of the foreground; the background has its negative.
    """

    def __init__(self, confidence: float = 20.0) -> None:
        super().__init__()
        self.confidence = confidence

    def forward(self, window: Tensor) -> Tensor:
        """Logits (K, 1, *roi) of windows (K, Ci, *roi)."""
        return (2 * window[:, :1] - 1) * self.confidence
