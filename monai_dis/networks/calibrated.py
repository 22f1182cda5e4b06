"""Logits that mean what they say: bounded, in the same order, and calibrated class by class.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["CalibratedLogits"]


class CalibratedLogits(nn.Module):
    """``scale * bound * tanh(network(x) / bound) + bias``, each class by its own numbers.

    Networks that were trained with a Dice loss give logits of 40 and more, right or wrong. A refine network that corrects
    them, and a gate between two answers, cannot move that; and where some windows are refined by a network that knows
    what it knows, the others must not outrank them by mere confidence. Bounding keeps the order of each class, and so
    its precision against recall; scale and bias are fitted on images that the network did not see (J. Platt,
    "Probabilistic outputs for support vector machines", 1999), see `monai_dis.engines.calibration.calibrate`.

    Args:
        network: returns logits (B, C, *spatial); of several outputs the first counts.
        channels: number ``C`` of logit channels, overlapping classes or one.
        bound: the largest logit before scale and bias.

    Raises:
        NetworkError: when an argument is not above 0.

    Example:
        >>> calibrated = CalibratedLogits(nn.Identity(), channels=1)
        >>> [round(v, 2) for v in calibrated(torch.tensor([[[-40.0, 0.0, 1.0, 8.0]]])).flatten().tolist()]
        [-8.0, 0.0, 0.99, 6.09]
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, network: nn.Module, channels: int, bound: float = 8.0) -> None:
        super().__init__()
        if channels < 1 or not bound > 0:
            raise NetworkError(f"channels and bound must be above 0, got {channels} and {bound}.")
        self.network = network
        self.bound = float(bound)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Calibrated logits (B, C, *spatial) of images (B, Ci, *spatial); further arguments are the network's."""
        answer = self.network(x, *args, **kwargs)
        return self.calibrated(answer[0] if isinstance(answer, (list, tuple)) else answer)

    def calibrated(self, logits: Tensor) -> Tensor:
        """What becomes of the network's logits (B, C, *spatial)."""
        shape = (1, -1, *[1] * (logits.ndim - 2))
        return self.scale.reshape(shape) * self.bounded(logits) + self.bias.reshape(shape)

    def bounded(self, logits: Tensor) -> Tensor:
        """The first step alone, for fitting the second."""
        return self.bound * torch.tanh(logits / self.bound)
