"""A refine network whose answer is put together with the answer of the level below.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from typing_extensions import Self

__all__ = ["CombinedRefiner"]


class CombinedRefiner(nn.Module, ABC):
    """Runs the refine network and hands both answers to :meth:`combine`.

    Args:
        refine: the refine network, which keeps its weights and stays in evaluation mode.
        conditioned: whether ``refine`` takes the logits of the level below too; combining always does, so the pair of stages is
            built with ``conditioning="logits"``.
    """

    def __init__(self, refine: nn.Module, *, conditioned: bool = True) -> None:
        super().__init__()
        self.refine = refine.requires_grad_(False)
        self.conditioned = conditioned

    @abstractmethod
    def combine(self, below: Tensor, refined: Tensor) -> Tensor:
        """Both answers (K, C, *roi) as one, (K, C, *roi); also for training and fitting on stored answers."""

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but the refine network."""
        super().train(mode)
        self.refine.eval()
        return self

    def forward(self, window: Tensor, conditioning: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Refine a batch of windows and put both answers together.

        Args:
            window: (K, Ci, *roi) image windows.
            conditioning: (K, C, *roi) logits of the level below on the same windows.
            args: passed on to the refine network.
            kwargs: passed on to the refine network.

        Returns:
            (K, C, *roi) logits.
        """
        inputs = (window, conditioning) if self.conditioned else (window,)
        refined = self.refine(*inputs, *args, **kwargs)
        return self.combine(conditioning, refined[0] if isinstance(refined, (list, tuple)) else refined)
