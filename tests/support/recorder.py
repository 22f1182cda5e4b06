"""A network that remembers what it was given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Recorder(nn.Module):
    """Returns logits of a fixed value and remembers what it was given."""

    def __init__(self, value: float, channels: int = 1) -> None:
        super().__init__()
        self.value, self.channels = value, channels
        self.seen: list[tuple[Tensor, ...]] = []
        self.keywords: list[dict[str, Any]] = []

    def forward(self, *inputs: Tensor, **keywords: Any) -> Tensor:
        if not isinstance(inputs[0], torch._subclasses.FakeTensor):
            self.seen.append(inputs)
            self.keywords.append(keywords)
        x = inputs[0]
        return torch.full((x.shape[0], self.channels, *x.shape[2:]), self.value, dtype=x.dtype)
