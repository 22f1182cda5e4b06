"""A gate: of the answer of the level below and the refined one, which stands.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.clipped import check_clip, clipped
from monai_dis.networks.combined import CombinedRefiner

__all__ = ["GatedRefiner", "VoxelGate"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class GatedRefiner(CombinedRefiner):
    """``below + gate * (refined - below)``, with a gate between 0 and 1 that is read off both answers.

    A refine network also spoils windows: what it learned on its training images holds less on others. The gate is made
    after it, with the refine network fixed, on answers for images that neither network saw, so it knows what such an
    answer is worth. A refine network that returns what it is given still changes nothing.

    Args:
        refine: the refine network, which keeps its weights and stays in evaluation mode.
        gate: :class:`VoxelGate`, or any module that takes both logits ``(K, C, *roi)`` and returns
            what broadcasts with them.
        conditioned: whether ``refine`` takes the logits of the level below too; the gate always does, so the pair of
            stages is built with ``conditioning="logits"``.

    Example:
        >>> gated = GatedRefiner(nn.Conv2d(3, 1, 3, padding=1), VoxelGate(1), conditioned=False)
        >>> gated(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, refine: nn.Module, gate: nn.Module, *, conditioned: bool = True) -> None:
        super().__init__(refine, conditioned=conditioned)
        self.gate = gate

    def combine(self, below: Tensor, refined: Tensor) -> Tensor:
        """What the gate lets stand of both answers, (K, C, *roi)."""
        gate: Tensor = self.gate(below, refined)
        return below + gate * (refined - below)


class VoxelGate(nn.Sequential):
    """A gate for every voxel and class, which a few convolutions read off both answers; trained by gradients.

    Args:
        channels: number ``C`` of logit channels.
        hidden: width of the gate.
        clip: the gate sees logits clipped to ``-clip`` and ``clip`` and divided by ``clip``.
        spatial_dims: 1, 2 or 3.

    Raises:
        NetworkError: when an argument does not fit.
    """

    def __init__(self, channels: int, *, hidden: int = 8, clip: float = 8.0, spatial_dims: int = 2) -> None:
        if channels < 1 or hidden < 1:
            raise NetworkError(f"channels and hidden must be 1 or more, got {channels} and {hidden}.")
        if spatial_dims not in _CONVOLUTIONS:
            raise NetworkError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}.")
        conv = _CONVOLUTIONS[spatial_dims]
        last = conv(hidden, channels, kernel_size=1)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 3.0)  # the refined answer stands, until training knows better
        super().__init__(
            conv(3 * channels, hidden, kernel_size=1),
            nn.PReLU(),
            conv(hidden, hidden, kernel_size=3, padding=1),
            nn.PReLU(),
            conv(hidden, hidden, kernel_size=3, padding=2, dilation=2),
            nn.PReLU(),
            last,
        )
        self.clip = check_clip(clip)

    def forward(self, below: Tensor, refined: Tensor) -> Tensor:  # type: ignore[override]
        """The gate, (K, C, *roi) between 0 and 1, of two answers (K, C, *roi)."""
        a, b = clipped(below, self.clip), clipped(refined, self.clip)
        x = torch.cat([a, b, b - a], dim=1)
        for layer in self:
            x = layer(x)
        return torch.sigmoid(x)
