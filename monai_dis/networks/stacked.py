"""Stacking: the answer of the level below and the refined one, put together class by class.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.combined import CombinedRefiner

__all__ = ["StackedRefiner"]


class StackedRefiner(CombinedRefiner):
    """``below_weight * below + refined_weight * refined + bias``, three numbers for each class.

    Two answers that see different things err in different places, and with few images nothing finer than a weight for each
    class holds on others (D. Wolpert, "Stacked generalization", Neural Networks 5(2), 1992). The numbers are fitted
    (:func:`monai_dis.engines.fit_stack`), not trained; a new module lets the refined answer stand.

    Args:
        refine: the refine network, which keeps its weights and stays in evaluation mode.
        channels: number ``C`` of logit channels.
        conditioned: whether ``refine`` takes the logits of the level below too; stacking always does, so the pair of stages is
            built with ``conditioning="logits"``.

    Attributes:
        below_weight: (C,) of the answer below. Where it is 1 and the other two are 0 the answer below stays bit for bit.
        refined_weight: (C,) of the refined answer.
        bias: (C,).

    Raises:
        NetworkError: when ``channels`` is below 1.

    Example:
        >>> stacked = StackedRefiner(nn.Conv2d(3, 1, 3, padding=1), channels=1, conditioned=False)
        >>> stacked(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    below_weight: Tensor
    refined_weight: Tensor
    bias: Tensor

    def __init__(self, refine: nn.Module, channels: int, *, conditioned: bool = True) -> None:
        super().__init__(refine, conditioned=conditioned)
        if channels < 1:
            raise NetworkError(f"channels must be 1 or more, got {channels}.")
        self.register_buffer("below_weight", torch.zeros(channels))
        self.register_buffer("refined_weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))

    def combine(self, below: Tensor, refined: Tensor) -> Tensor:
        """The weighted sum of both answers, (K, C, *roi)."""
        shape = (-1, *[1] * (below.ndim - 2))
        a, b, bias = (x.to(below.dtype).reshape(shape) for x in (self.below_weight, self.refined_weight, self.bias))
        return a * below + b * refined + bias
