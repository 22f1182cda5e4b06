"""Calling a network the way MONAI's sliding window calls it: coordinates, a condition and further arguments with every window.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*read`` size of what the network is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.errors import ImageError
from monai_dis.inferers.operations import CallCosts, Cost, count_operations, fitting_multiple, preview

__all__ = ["NetworkCall", "Places", "check_condition", "mixed_precision", "places_of"]

Places = list[list[slice]]
"""Where each window lies: the slices of image, channels and spatial axes, as MONAI's sliding window gives them."""


@dataclass(frozen=True)
class NetworkCall:
    """A network, and what it is given besides windows.

    Args:
        network: any callable.
        conditioned: whether it takes the logits of the level below as a further argument.
        args: further arguments.
        kwargs: further keyword arguments.
        with_coord: whether it takes the places of the windows as its second argument.
        with_condition: whether it takes windows of the caller's ``condition`` as a keyword argument.
        autocast: type of mixed precision, see `monai_dis.inferers.IterativeInferer`.
        costs: what calls of this run cost, where only calling tells.
    """

    network: Callable[..., Any]
    conditioned: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    with_coord: bool = False
    with_condition: bool = False
    autocast: str | None = None
    costs: CallCosts = field(default_factory=CallCosts, compare=False, repr=False)

    def __call__(
        self, window: Tensor, places: Places, *, below: Tensor | None = None, condition: Tensor | None = None
    ) -> Any:
        """Answer for windows.

        Args:
            window: (K, Ci, *read).
            places: where they lie.
            below: (K, C, *read) logits of the level below, for a conditioned network.
            condition: (K, Ci, *read) windows of the condition.
        """
        inputs: list[Any] = [window]
        if self.with_coord:
            inputs.append(places)
        if self.conditioned:
            inputs.append(below)
        more = {**self.kwargs, "condition": condition} if self.with_condition else self.kwargs
        with mixed_precision(self.autocast, window.device), self.costs.counted(self.network, window):
            return self.network(*inputs, *self.args, **more)

    def cost(self, like: Tensor, size: Sequence[int], channels: int = 0, count: int = 1) -> Cost:
        """What windows of a size cost; of operations nothing where nobody can tell, or cannot yet.

        Args:
            like: tensor of the image's channels, type and device.
            size: spatial size that the network is given.
            channels: logit channels of the level below.
            count: number of windows.
        """
        one = like.new_empty((1,))
        inputs = [one.expand(count, like.shape[1], *size)]
        if self.conditioned:
            inputs.append(one.expand(count, channels, *size))
        operations: float | None = count_operations(self._of_tensors(), inputs, *self.args, **self.kwargs)
        if operations is None:
            self.costs.refused.add(id(self.network))
            called = self.costs.of(self.network, size)
            operations = None if called is None else count * called
        return Cost(operations, count * prod(size))

    def fitting_multiple(self, like: Tensor) -> int | None:
        """See `monai_dis.inferers.operations.fitting_multiple`."""
        multiple = fitting_multiple(self._of_tensors(), like, *self.args, **self.kwargs)
        if multiple is None:
            self.costs.refused.add(id(self.network))
        return multiple

    def accepts(self, like: Tensor, size: Sequence[int]) -> bool:
        """Whether the network answers windows of a size with the same size; (B, Ci, ...) like as for `operations`."""
        one = like.new_empty((1,)).expand(1, like.shape[1], *size)
        seen = preview(self._of_tensors(), [one], *self.args, **self.kwargs)
        return seen is not None and bool(seen.shapes) and all(s[2:] == tuple(size) for s in seen.shapes)

    def _of_tensors(self) -> Callable[..., Any]:
        """The network as a module of tensors, for counting; itself where it can be, so that counts are remembered."""
        if not isinstance(self.network, nn.Module) or not (self.with_coord or self.with_condition):
            return self.network
        return _OfTensors(self.network, self.with_coord, self.with_condition)


class _OfTensors(nn.Module):
    """A network that takes places and a condition too, as one of windows alone."""

    def __init__(self, network: nn.Module, with_coord: bool, with_condition: bool) -> None:
        super().__init__()
        self.network, self.with_coord, self.with_condition = network, with_coord, with_condition

    def forward(self, window: Tensor, *rest: Any, **more: Any) -> Any:
        places = [places_of([0] * (window.ndim - 2), window.shape[2:], 0)] * len(window)
        # A condition has the shape of its image, so that a window may stand for one.
        extra = {"condition": torch.zeros_like(window)} if self.with_condition else {}
        return self.network(window, *([places] if self.with_coord else []), *rest, **more, **extra)


def mixed_precision(autocast: str | None, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a network runs; None leaves it as the caller has it."""
    if autocast == "auto":
        autocast = "bfloat16" if computes_bfloat16(device.type) else None
    return nullcontext() if autocast is None else torch.autocast(device.type, getattr(torch, autocast))


@cache
def computes_bfloat16(device_type: str) -> bool:
    """Whether a kind of device has instructions for bfloat16; where they are emulated, float32 is faster."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def places_of(start: Sequence[int], size: Sequence[int], image: int) -> list[slice]:
    """The place of one window in a padded batch of images.

    Args:
        start: its first voxel.
        size: its size.
        image: index in the batch.
    """
    spatial = [slice(int(a), int(a) + int(n)) for a, n in zip(start, size, strict=True)]
    return [slice(image, image + 1), slice(None), *spatial]


def check_condition(condition: Any, inputs: Tensor) -> Tensor | None:
    """A condition as a plain tensor; None stays None.

    Raises:
        ImageError: when it is no tensor of the shape of the inputs, which MONAI's sliding window asks for too.
    """
    if condition is None:
        return None
    if not isinstance(condition, Tensor) or condition.shape != inputs.shape:
        found = tuple(condition.shape) if isinstance(condition, Tensor) else type(condition).__name__
        raise ImageError(f"condition must have the shape of the inputs {tuple(inputs.shape)}, got {found}.")
    plain: Tensor = condition.as_tensor() if hasattr(condition, "as_tensor") else condition
    return plain if plain.is_floating_point() else plain.float()
