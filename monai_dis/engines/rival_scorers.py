"""Rivals of a score: ways to choose windows that a good score must beat, as scorers of the score ``"gain"``.

Whoever leaves them out fools himself: random windows on the foreground can come close to a learned choice, and the oracle says how
much there was to win. Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*grid`` the grid of the level below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.inferers.grid import resample
from monai_dis.inferers.score import one_hot
from monai_dis.networks import TwoStageNet

__all__ = ["BoundaryScorer", "BoxScorer", "GivenScorer", "RandomScorer", "with_scorer"]

_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class RandomScorer(nn.Module):
    """Windows at random, everywhere or where the coarse answer has foreground.

    Args:
        seed: the same seed draws the same map for the same grid.
        on_foreground: only where the coarse answer has foreground.
        activation: ``"softmax"`` or ``"sigmoid"``; softmax for more than one channel when not given, as in the inferer.
    """

    def __init__(self, seed: int = 0, *, on_foreground: bool = False, activation: str | None = None) -> None:
        super().__init__()
        self.seed, self.on_foreground, self.activation = seed, on_foreground, activation

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """A map in [0, 1], (B, 1, *grid), in blocks of eight voxels: single ones would average out in a window."""
        generator = torch.Generator().manual_seed(self.seed)
        small = [max(1, n // 8) for n in logits.shape[2:]]
        drawn = torch.rand((logits.shape[0], 1, *small), generator=generator).to(logits.device)
        gain = F.interpolate(drawn, size=tuple(logits.shape[2:]), mode="nearest")
        return gain * _foreground(logits, self.activation) if self.on_foreground else gain


class _AnswerScorer(nn.Module):
    """A scorer that looks at the answer alone."""

    def __init__(self, activation: str | None = None) -> None:
        super().__init__()
        self.activation = activation


class BoundaryScorer(_AnswerScorer):
    """Windows along the boundary of the coarse answer.

    Args:
        activation: as for `RandomScorer`.
    """

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """1 where a neighbour has another label, (B, 1, *grid)."""
        label = _classes(logits, self.activation).float()
        pool = _POOLS[logits.ndim - 2]
        edge = pool(label, 3, 1, 1) + pool(-label, 3, 1, 1)
        return edge.amax(1, keepdim=True)


class BoxScorer(_AnswerScorer):
    """Crop, then a full pass inside: windows in the bounding box of the coarse foreground, all alike.

    Args:
        activation: as for `RandomScorer`.
    """

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """1 in the box of each image, (B, 1, *grid)."""
        inside = _foreground(logits, self.activation)
        box = torch.ones_like(inside)
        for axis in range(2, inside.ndim):
            others = [a for a in range(2, inside.ndim) if a != axis]
            line = inside.amax(dim=others, keepdim=True) if others else inside
            after, before = line.cummax(axis).values, line.flip(axis).cummax(axis).values.flip(axis)
            box = box * after * before
        return box


class GivenScorer(nn.Module):
    """A map that was worked out beforehand, such as the oracle's: the gain that refinement really has.

    Args:
        gain: (1, 1, *any), on any grid of the image's field of view; what is below 0 counts as 0.
    """

    gain: Tensor

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain.clamp(min=0), persistent=False)

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """The map on the grid, (B, 1, *grid)."""
        return resample(self.gain, logits.shape[2:]).expand(logits.shape[0], -1, *logits.shape[2:])


def with_scorer(network: Callable[..., Any], scorer: nn.Module) -> nn.Module:
    """The same networks with another scorer; a network that is no pair stands at all levels."""
    if isinstance(network, TwoStageNet):
        return TwoStageNet(network.coarse, network.refine, network.conditioning, scorer).eval()
    if not isinstance(network, nn.Module):
        raise NetworkError(f"a scorer goes with a network that is a module, got {type(network).__name__}.")
    return TwoStageNet(network, network, "none", scorer).eval()


def _classes(logits: Tensor, activation: str | None) -> Tensor:
    return one_hot(logits, activation or ("softmax" if logits.shape[1] > 1 else "sigmoid"))


def _foreground(logits: Tensor, activation: str | None) -> Tensor:
    """1 where a class other than the background is given, (B, 1, *grid)."""
    given = _classes(logits, activation)
    exclusive = logits.shape[1] > 1 and activation != "sigmoid"
    return (given[:, 1:] if exclusive else given).any(1, keepdim=True).float()
