"""A gate: of the answer of the level below and the refined one, decide which stands, voxel by voxel and class by class.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.clipped import check_clip, clipped

__all__ = ["GatedRefiner"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class GatedRefiner(nn.Module):
    """``below + gate * (refined - below)``, with a gate between 0 and 1 that a few convolutions read off both answers.

    A refine network also spoils windows: what it learned on its training images holds less on others. The gate is
    trained after it, with the refine network fixed, on answers for images that neither network saw, so it knows what
    such an answer is worth. A refine network that returns what it is given still changes nothing.

    Args:
        refine: the refine network, which keeps its weights and stays in evaluation mode.
        channels: number ``C`` of logit channels.
        conditioned: whether ``refine`` takes the logits of the level below too; the gate always does, so the pair of
            stages is built with ``conditioning="logits"``.
        hidden: width of the gate.
        clip: the gate sees logits clipped to ``-clip`` and ``clip`` and divided by ``clip``.
        spatial_dims: 1, 2 or 3.

    Raises:
        NetworkError: when an argument does not fit.

    Example:
        >>> gated = GatedRefiner(nn.Conv2d(3, 1, 3, padding=1), channels=1, conditioned=False)
        >>> gated(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        refine: nn.Module,
        channels: int,
        *,
        conditioned: bool = True,
        hidden: int = 8,
        clip: float = 8.0,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        if channels < 1 or hidden < 1:
            raise NetworkError(f"channels and hidden must be 1 or more, got {channels} and {hidden}.")
        if spatial_dims not in _CONVOLUTIONS:
            raise NetworkError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}.")
        conv = _CONVOLUTIONS[spatial_dims]
        self.refine = refine.requires_grad_(False)
        self.conditioned = conditioned
        self.clip = check_clip(clip)
        self.gate = nn.Sequential(
            conv(3 * channels, hidden, kernel_size=1),
            nn.PReLU(),
            conv(hidden, hidden, kernel_size=3, padding=1),
            nn.PReLU(),
            conv(hidden, hidden, kernel_size=3, padding=2, dilation=2),
            nn.PReLU(),
            conv(hidden, channels, kernel_size=1),
        )
        last = self.gate[-1]
        assert isinstance(last.weight, Tensor) and isinstance(last.bias, Tensor)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 3.0)  # the refined answer stands, until training knows better

    def train(self, mode: bool = True) -> GatedRefiner:
        """Training mode for the gate alone."""
        super().train(mode)
        self.refine.eval()
        return self

    def forward(self, window: Tensor, conditioning: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Refine a batch of windows and let the gate decide.

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
        return self.decide(conditioning, refined[0] if isinstance(refined, (list, tuple)) else refined)

    def decide(self, below: Tensor, refined: Tensor) -> Tensor:
        """The gate alone, for training on stored answers: both (K, C, *roi) to (K, C, *roi)."""
        a, b = clipped(below, self.clip), clipped(refined, self.clip)
        gate = torch.sigmoid(self.gate(torch.cat([a, b, b - a], dim=1)))
        return below + gate * (refined - below)
