"""A lean U-Net decoder on an EfficientNet-Lite0 encoder.

Letters in shapes: ``B`` batch, ``Ci`` input channels, ``C`` classes, ``H`` and ``W`` the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.efficientnet_lite import LITE0_CHANNELS, EfficientNetLite0Encoder

__all__ = ["LeanUNet"]

_STRIDE = 2


class LeanUNet(nn.Module):
    """Encoder features at strides 2 to 32, two 3x3 convolutions for each step up to stride 2, and sub-pixel logits.

    Full resolution is where a U-Net spends most and knows least. Here the pixels themselves join the features at stride 2
    (four neighbours as channels), and each position there answers for its four pixels (W. Shi et al., "Real-Time Single Image
    and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016): 20 thousand
    multiply-accumulates a pixel, against 31 with a stem and two more convolutions at stride 1. Normalisation is by batch
    statistics, fixed at inference: an answer does not depend on what else is in a window.

    Args:
        in_channels: 3 for RGB, or more; what comes after the third begins without influence on the encoder.
        out_channels: number ``C`` of logit channels, or of features for a head of one's own (`ResidualRefiner`).
        decoder_channels: width of each step up, coarse to fine: one fewer than ``depth``.
        stem_channels: width of a stem at stride 1 with a last step up of its own, in place of sub-pixel logits; 0 for none.
        depth: number of the encoder's features, 2 to 5; 4 leaves out three quarters of the parameters, and context.
        prior: probability that a new network gives every class everywhere. Where lesions are one pixel in five hundred, steps that
            bring it down from one half are steps in which nothing else is learned (T. Lin et al., "Focal Loss for Dense Object
            Detection", ICCV 2017).

    Raises:
        NetworkError: when an argument does not fit.

    Example:
        >>> LeanUNet(3, 4)(torch.zeros(1, 3, 50, 71)).shape
        torch.Size([1, 4, 50, 71])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        decoder_channels: Sequence[int] = (96, 64, 40, 24),
        stem_channels: int = 0,
        depth: int = len(LITE0_CHANNELS),
        prior: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < prior < 1:
            raise NetworkError(f"prior must lie between 0 and 1, got {prior}.")
        if depth < 2 or len(decoder_channels) != depth - 1:
            raise NetworkError(
                f"a decoder on {depth} features takes {depth - 1} steps up, 1 or more, got "
                f"decoder_channels={tuple(decoder_channels)}."
            )
        if stem_channels < 0:
            raise NetworkError(f"stem_channels must be 0 or more, got {stem_channels}.")
        self.encoder = EfficientNetLite0Encoder(2, in_channels, depth=depth)
        self.stem = _conv(in_channels, stem_channels) if stem_channels else None
        skips, widths = list(LITE0_CHANNELS[: depth - 1][::-1]), [LITE0_CHANNELS[depth - 1], *decoder_channels]
        if self.stem is None:
            skips[-1] += in_channels * _STRIDE**2
        else:
            skips.append(stem_channels)
            widths.append(stem_channels)
        self.decoder = nn.ModuleList(
            nn.Sequential(_conv(below + skip, out), _conv(out, out))
            for (below, out), skip in zip(pairwise(widths), skips, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], out_channels * (1 if stem_channels else _STRIDE**2), kernel_size=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C, H, W) of images (B, Ci, H, W) of any size."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, width % _STRIDE, 0, height % _STRIDE), mode="replicate")
        features: list[Tensor] = self.encoder(x)
        if self.stem is None:
            features[0] = torch.cat([features[0], F.pixel_unshuffle(x, _STRIDE)], 1)
        else:
            features.insert(0, self.stem(x))
        y = features.pop()
        for block, skip in zip(self.decoder, reversed(features), strict=True):
            enlarged = F.interpolate(y, size=skip.shape[2:], mode="nearest-exact")
            y = block(torch.cat([enlarged, skip], 1))
        y = self.head(y)
        logits = F.pixel_shuffle(y, _STRIDE) if self.stem is None else y
        return logits[..., :height, :width]


def _conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
