"""Logits within bounds, in the same order: what a network is too sure of stays within reach of a correction.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["BoundedLogits"]


class BoundedLogits(nn.Module):
    """``bound * tanh(network(x) / bound)``.

    Networks that were trained with a Dice loss give logits of 40 and more, right or wrong. A refine network that corrects
    them, and a gate between two answers, cannot move that. Small logits stay what they are and all keep their order, so
    that labels and precision against recall are those of the network.

    Args:
        network: returns logits; of several outputs the first counts.
        bound: the largest logit; 8 stands for a probability of 0.9997.

    Raises:
        NetworkError: when the bound is not above 0.

    Example:
        >>> bounded = BoundedLogits(nn.Identity(), bound=8)
        >>> [round(v, 2) for v in bounded(torch.tensor([-40.0, 0.0, 1.0, 8.0])).tolist()]
        [-8.0, 0.0, 0.99, 6.09]
    """

    def __init__(self, network: nn.Module, bound: float = 8.0) -> None:
        super().__init__()
        if not bound > 0:
            raise NetworkError(f"bound must be above 0, got {bound}.")
        self.network = network
        self.bound = float(bound)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Bounded logits (B, C, *spatial) of images (B, Ci, *spatial); further arguments are the network's."""
        answer = self.network(x, *args, **kwargs)
        logits = answer[0] if isinstance(answer, (list, tuple)) else answer
        return self.bound * torch.tanh(logits / self.bound)
