"""Networks that are only there to be compared with what the bundles use."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_dis.networks import CalibratedLogits
from monai_dis.networks.clipped import clipped

__all__ = ["CoarseFeatures", "Direct", "FlipAverage", "WithContext", "WithFeatures"]

# Features travel as channels of the answer, so far below zero that no score takes them for doubt.
_CERTAIN = 100.0


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


class CoarseFeatures(nn.Module):
    """A calibrated U-Net's logits, (B, C, *grid), and behind them what its last layer reads, brought to the same grid."""

    def __init__(self, coarse: CalibratedLogits) -> None:
        super().__init__()
        self.coarse = coarse

    def forward(self, x: Tensor) -> Tensor:
        down, within, _ = self.coarse.network.model  # type: ignore[union-attr, misc]
        features = F.interpolate(within(down(x)), size=x.shape[2:], mode="trilinear", align_corners=False)
        return torch.cat([self.coarse(x), features - _CERTAIN], dim=1)


class WithFeatures(nn.Module):
    """A refiner that sees features of the coarse network as more channels of the window, and hands them on."""

    def __init__(self, refiner: nn.Module, channels: int) -> None:
        super().__init__()
        self.refiner = refiner
        self.channels = channels

    def forward(self, window: Tensor, conditioning: Tensor) -> Tensor:
        logits, features = conditioning[:, : self.channels], conditioning[:, self.channels :]
        refined: Tensor = self.refiner(torch.cat([window, features.to(window.dtype) + _CERTAIN], dim=1), logits)
        return refined if self.training else torch.cat([refined, features.to(refined.dtype)], dim=1)


class WithContext(nn.Module):
    """A refiner that sees a wider crop at half the density beside its window, which is the middle of what it is given."""

    def __init__(self, refiner: nn.Module, clip: float = 8.0) -> None:
        super().__init__()
        self.refiner = refiner
        self.clip = clip

    def forward(self, window: Tensor, conditioning: Tensor) -> Tensor:
        inner = (..., *[slice(n // 4, n - n // 4) for n in window.shape[2:]])
        wide = torch.cat([window, clipped(conditioning, self.clip).to(window.dtype)], dim=1)
        context = F.avg_pool3d(wide, 2)
        refined = self.refiner(torch.cat([window[inner], context], dim=1), conditioning[inner])
        answer = conditioning.to(refined.dtype).clone()
        answer[inner] = refined
        return answer
