"""One network, asked about the image and its mirror images.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["FlipAveraged"]


class FlipAveraged(nn.Module):
    """Mean of the logits of an image and of its flips, each flipped back; every flip costs one more pass, and is counted.

    Args:
        network: any network that keeps the spatial size, for images without a preferred side.
        axes: spatial axes that are flipped, counted from 0, in all combinations: two axes make four passes.

    Raises:
        NetworkError: when an axis is negative or named twice.

    Example:
        >>> import torch
        >>> net = FlipAveraged(nn.Conv2d(1, 1, 3, padding=1), axes=[0, 1])
        >>> x = torch.rand(1, 1, 6, 5)
        >>> torch.allclose(net(x.flip(3)).flip(3), net(x), atol=1e-6)
        True
    """

    def __init__(self, network: nn.Module, axes: Sequence[int] = (0, 1)) -> None:
        super().__init__()
        if any(axis < 0 for axis in axes) or len(set(axes)) != len(axes):
            raise NetworkError(f"axes are counted from 0 and named once each, got {list(axes)}.")
        self.network = network
        self.flips = [flip for n in range(len(axes) + 1) for flip in combinations(axes, n)]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (B, C, *spatial) of images (B, Ci, *spatial); further tensors are flipped with the image, the rest handed on."""
        total: Tensor | None = None
        for flip in self.flips:
            dims = [axis + 2 for axis in flip]
            inputs = [v.flip(dims) if isinstance(v, Tensor) and v.ndim == x.ndim else v for v in (x, *args)]
            answer = self.network(*inputs, **kwargs).flip(dims)
            total = answer if total is None else total + answer
        assert total is not None
        return total / len(self.flips)
