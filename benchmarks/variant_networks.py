"""Networks that are only there to be compared with what the bundles use."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from monai_dis.networks.clipped import clipped

__all__ = ["Direct", "FlipAverage"]


class Direct(nn.Module):
    """The refine network answers anew instead of correcting: ``backbone([window, clipped conditioning])``."""

    def __init__(self, backbone: nn.Module, clip: float = 8.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.clip = clip

    def forward(self, window: Tensor, conditioning: Tensor) -> Tensor:
        answer: Tensor = self.backbone(torch.cat([window, clipped(conditioning, self.clip).to(window.dtype)], dim=1))
        return answer


class FlipAverage(nn.Module):
    """Mean of the network's logits over all flips of (B, Ci, *spatial)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        axes = range(2, x.ndim)
        flips = [
            [a for a, flipped in zip(axes, which, strict=True) if flipped]
            for which in product((0, 1), repeat=x.ndim - 2)
        ]
        return torch.stack([self.network(x.flip(flip)).flip(flip) for flip in flips]).mean(0)
