"""Scenes for benchmarks of speed: the same blobs at any resolution, and a network that sees them at its own cost.

Letters in shapes: ``*size`` two or three axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SceneNetwork", "blobs"]

_WAVES = 24
_LARGEST_FREQUENCY = 3


def blobs(size: Sequence[int], seed: int = 0) -> Tensor:
    """A scene of smooth blobs, 1 inside and 0 outside, whose edge is about a voxel wide at every resolution.

    Its outline is that of one function whatever the size, so that twice the resolution is twice the outline in voxels
    (in three dimensions four times the surface).

    Args:
        size: of the image in voxels.
        seed: of the function.

    Returns:
        (1, 1, *size) float32.
    """
    generator = torch.Generator().manual_seed(seed)
    dims = len(size)
    frequency = torch.randint(-_LARGEST_FREQUENCY, _LARGEST_FREQUENCY + 1, (_WAVES, dims), generator=generator)
    phase = 2 * math.pi * torch.rand(_WAVES, generator=generator)
    # A plane wave is a product of waves along the axes, so that the whole scene is one sum of outer products.
    factors = []
    for axis, n in enumerate(size):
        angle = 2 * math.pi * frequency[:, axis, None] * (torch.arange(n) + 0.5) / n
        factors.append(torch.polar(torch.ones_like(angle), angle + (phase[:, None] if axis == 0 else 0)))
    scene = torch.empty(tuple(size))
    for row in range(size[0]):
        first = factors[0][:, row, None] * factors[1]
        if dims == 2:
            scene[row] = first.real.sum(0)
        else:
            scene[row] = first.real.T @ factors[2].real - first.imag.T @ factors[2].imag
    # Mean slope of the function across one voxel.
    slope = 2 * math.pi * math.sqrt(float((frequency**2).sum()) / 2) / max(size)
    return (0.5 + scene / slope).clamp_(0.0, 1.0)[None, None]


class SceneNetwork(nn.Module):
    """Costs what a network costs, and answers what the scene shows: certain inside and outside, in doubt at the edge.

    Args:
        network: pays for the answer; its own, which no training made, is dropped.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits (K, 1, *size) of windows (K, 1, *size)."""
        answer: Tensor = self.network(x)
        return 16 * (x - 0.5) + 0 * answer
