"""Counting what a network costs before it runs: its shapes go through on fake tensors, nothing is computed.

One operation is one multiply-accumulate, half of what ``torch.utils.flop_counter`` counts.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Preview", "count_operations", "fitting_multiple", "preview"]

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Preview:
    """What a network would do with an input.

    Args:
        operations: multiply-accumulates, for the whole batch.
        shapes: shapes of its answer's tensors; empty when the answer has none.
    """

    operations: int
    shapes: tuple[tuple[int, ...], ...]


_SEEN: weakref.WeakKeyDictionary[Any, dict[Any, Preview | None]] = weakref.WeakKeyDictionary()


def count_operations(network: Callable[..., Any], inputs: Sequence[Tensor], *args: Any, **kwargs: Any) -> int:
    """Multiply-accumulates of a network for inputs of these shapes.

    Args:
        network: any callable; counts are remembered per network and shape.
        inputs: tensors of which shape, type and device count, not the values.
        args: further arguments of the network.
        kwargs: further keyword arguments of the network.

    Returns:
        The count. A callable that fake tensors cannot run is run once on zeros.
    """
    seen = preview(network, inputs, *args, **kwargs)
    if seen is not None:
        return seen.operations
    memory, key = _memory(network, inputs, args, kwargs)
    real = memory.get(("zeros", key))
    if real is None:
        real = memory[("zeros", key)] = _run_on_zeros(network, inputs, args, kwargs)
    return real.operations


def preview(network: Callable[..., Any], inputs: Sequence[Tensor], *args: Any, **kwargs: Any) -> Preview | None:
    """Run a network on fake tensors; None when it raises.

    Arguments are those of `count_operations`. A counter that the caller has around the run does not see this.
    """
    memory, key = _memory(network, inputs, args, kwargs)
    if key not in memory:
        memory[key] = _run_on_fakes(network, inputs, args, kwargs)
    return memory[key]


def fitting_multiple(network: Callable[..., Any], like: Tensor, *args: Any, **kwargs: Any) -> int | None:
    """The smallest of 1, 2, 4, ... 64 to whose multiples an input must be padded for the network to keep its size.

    Args:
        network: any callable.
        like: (B, Ci, *spatial), of which shape, type and device count.
        args: further arguments of the network.
        kwargs: further keyword arguments of the network.

    Returns:
        The multiple; None when none helps.
    """
    # A network that fake tensors cannot run is tried on zeros; those that it refuses cost little.
    for look in (preview, _trial):
        for multiple in _MULTIPLES:
            size = [-(-n // multiple) * multiple for n in like.shape[2:]]
            seen = look(network, [like.new_empty((1,)).expand(*like.shape[:2], *size)], *args, **kwargs)
            if seen is not None and seen.shapes and all(list(s[2:]) == size for s in seen.shapes):
                return multiple
    return None


def _trial(network: Callable[..., Any], inputs: Sequence[Tensor], *args: Any, **kwargs: Any) -> Preview | None:
    """Run a network on zeros; None when it raises."""
    try:
        return _run_on_zeros(network, inputs, args, kwargs)
    except Exception:  # whatever a foreign network raises: the size does not fit
        return None


def _memory(
    network: Callable[..., Any], inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[dict[Any, Preview | None], Any]:
    """What is remembered of a network, and the key of these inputs; further arguments are not remembered."""
    training = bool(getattr(network, "training", False))
    key = (tuple((tuple(x.shape), x.dtype, x.device) for x in inputs), training, torch.is_autocast_enabled())
    memory: dict[Any, Preview | None] = {}
    if not args and not kwargs:
        with suppress(TypeError):  # not hashable, or nothing that a weak reference can hold
            memory = _SEEN.setdefault(network, memory)
    return memory, key


def _run_on_fakes(
    network: Callable[..., Any], inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> Preview | None:
    plain = getattr(network, "_orig_mod", network)  # a compiled module hides its operations from the counter
    counter = FlopCounterMode(display=False)
    with (
        _kept_buffers(plain),
        _no_autocast_cache(),
        _disable_current_modes(),
        _quiet(),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
    ):
        fakes = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in inputs]
        try:
            with counter:
                answer = plain(*fakes, *args, **kwargs)
        except Exception:  # whatever a foreign network raises on fake tensors: the caller has another way
            return None
    return Preview(int(counter.get_total_flops()) // 2, _shapes(answer))


def _run_on_zeros(
    network: Callable[..., Any], inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> Preview:
    devices = sorted({x.device.index or 0 for x in inputs if x.device.type == "cuda"})
    counter = FlopCounterMode(display=False)
    with (
        _kept_buffers(network),
        _disable_current_modes(),
        torch.no_grad(),
        torch.random.fork_rng(devices=devices),
        counter,
    ):
        answer = network(*[torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in inputs], *args, **kwargs)
    return Preview(int(counter.get_total_flops()) // 2, _shapes(answer))


@contextmanager
def _kept_buffers(network: Callable[..., Any]) -> Iterator[None]:
    """Put buffers back: a batch norm in training counts its batches in one, on fake input too."""
    buffers = list(network.buffers()) if isinstance(network, torch.nn.Module) and network.training else []
    before = [b.clone() for b in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Mixed precision keeps the weights that it has rounded; fake ones must not be there when the real input comes."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """A network that refuses a size is an answer here, so its traceback does not go to the log."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _shapes(answer: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(answer, Tensor):
        return (tuple(answer.shape),)
    values = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, (list, tuple)) else ()
    return tuple(tuple(v.shape) for v in values if isinstance(v, Tensor))
