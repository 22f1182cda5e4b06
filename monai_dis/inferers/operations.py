"""Counting what a network costs before it runs, on a copy of it and on fake tensors: nothing is computed, and the caller's network
sees nothing of it.

One operation is one multiply-accumulate, half of what ``torch.utils.flop_counter`` counts. What cannot be counted so (a callable that is
no module, a module that cannot be copied or that looks at values) is counted when it is called with real windows, see `CallCosts`.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["MULTIPLES", "CallCosts", "Cost", "Preview", "count_operations", "fitting_multiple", "preview"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Preview:
    """What a network would do with an input.

    Args:
        operations: multiply-accumulates, for the whole batch.
        shapes: shapes of its answer's tensors; empty when the answer has none.
    """

    operations: int
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Cost:
    """What something costs, in multiply-accumulates and in voxels that a network is given.

    Args:
        operations: multiply-accumulates; None where they cannot be told.
        voxels: of all windows.
    """

    OPERATIONS: ClassVar[str] = "multiply-accumulates"
    VOXELS: ClassVar[str] = "voxels"

    operations: float | None
    voxels: float

    def __add__(self, other: Cost) -> Cost:
        known = self.operations is not None and other.operations is not None
        return Cost((self.operations or 0) + (other.operations or 0) if known else None, self.voxels + other.voxels)

    def __mul__(self, times: float) -> Cost:
        return Cost(None if self.operations is None else self.operations * times, self.voxels * times)

    def in_unit(self, unit: str) -> float:
        """The number in one of the two units."""
        return (self.operations or 0) if unit == Cost.OPERATIONS else self.voxels


_SEEN: weakref.WeakKeyDictionary[Any, dict[Any, Preview | None]] = weakref.WeakKeyDictionary()


def count_operations(network: Callable[..., Any], inputs: Sequence[Tensor], *args: Any, **kwargs: Any) -> int | None:
    """Multiply-accumulates of a network for inputs of these shapes.

    Args:
        network: any callable; counts are remembered per network and shape.
        inputs: tensors of which shape, type and device count, not the values.
        args: further arguments of the network.
        kwargs: further keyword arguments of the network.

    Returns:
        The count; None for what can only be counted by calling it, and for what torch sees no operation of.
    """
    seen = preview(network, inputs, *args, **kwargs)
    return None if seen is None else seen.operations or None


def preview(network: Callable[..., Any], inputs: Sequence[Tensor], *args: Any, **kwargs: Any) -> Preview | None:
    """Run a copy of a network on fake tensors; None when that is not possible or raises.

    Arguments are those of `count_operations`. Neither the network's own state nor a counter that the caller has around the run nor hooks
    see this. A callable that is no module cannot be copied, and is not run.
    """
    if not isinstance(network, nn.Module):
        return None
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
        The multiple; None when none helps, or `preview` cannot say.
    """
    for multiple in MULTIPLES:
        size = [-(-n // multiple) * multiple for n in like.shape[2:]]
        seen = preview(network, [like.new_empty((1,)).expand(*like.shape[:2], *size)], *args, **kwargs)
        if seen is not None and seen.shapes and all(list(s[2:]) == size for s in seen.shapes):
            return multiple
    return None


@dataclass
class CallCosts:
    """What callables cost that cannot be counted beforehand, from the first real call of each size; of one run.

    Args:
        seen: multiply-accumulates of one window, by callable and size; 0 where torch sees no operation (another runtime, numpy).
        refused: modules of which `preview` could not say anything.
        spent: multiply-accumulates of all calls that were counted, those that raised among them.
    """

    seen: dict[tuple[int, tuple[int, ...]], float] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    spent: float = 0.0

    @contextmanager
    def counted(self, network: Callable[..., Any], window: Tensor) -> Iterator[None]:
        """Count what is called inside, where nothing else can say it and it has not been counted yet.

        Args:
            network: the callable.
            window: (K, Ci, *read) what it is given first.
        """
        key = (id(network), tuple(window.shape[2:]))
        if key in self.seen or (isinstance(network, nn.Module) and id(network) not in self.refused):
            yield
            return
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                yield
        finally:
            self.spent += counter.get_total_flops() / 2
        self.seen[key] = counter.get_total_flops() / 2 / max(1, len(window))

    def of(self, network: Callable[..., Any], size: Sequence[int]) -> float | None:
        """Multiply-accumulates of one window of a size; by its voxels where only others were seen; None where torch saw none."""
        own = {key[1]: cost for key, cost in self.seen.items() if key[0] == id(network) and cost}
        if not own:
            return None
        nearest = tuple(size) if tuple(size) in own else max(own)
        return own[nearest] * prod(size) / prod(nearest)


def _memory(
    network: nn.Module, inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[dict[Any, Preview | None], Any]:
    """What is remembered of a network, and the key of these inputs; further arguments are not remembered."""
    training = bool(getattr(network, "training", False))  # frozen TorchScript has no such thing
    key = (tuple((tuple(x.shape), x.dtype, x.device) for x in inputs), training, torch.is_autocast_enabled())
    memory: dict[Any, Preview | None] = {}
    if not args and not kwargs:
        with suppress(TypeError):  # not hashable
            memory = _SEEN.setdefault(network, memory)
    return memory, key


def _run_on_fakes(
    network: nn.Module, inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> Preview | None:
    plain = getattr(network, "_orig_mod", network)  # a compiled module hides its operations from the counter
    counter = FlopCounterMode(display=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with _no_autocast_cache(), _disable_current_modes(), _quiet(), torch.no_grad():
        try:
            twin = _fake_copy(plain, mode)
            with mode, counter:
                answer = twin(*[torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in inputs], *args, **kwargs)
        except (
            Exception
        ):  # whatever a foreign network raises on fake tensors, or when copied: the caller has another way
            return None
    return Preview(int(counter.get_total_flops()) // 2, _shapes(answer))


def _fake_copy(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy that keeps what it is told to itself, without the caller's hooks, and takes little memory: its parameters are fakes.

    Other tensors are copied as they are, since a network may decide by their values what it computes, but for those that torch does not
    copy: weights that are computed from others.
    """
    known: dict[int, Any] = {}
    for module in network.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for tensor in (*module._parameters.values(), *vars(module).values()):
            computed = isinstance(tensor, Tensor) and not tensor.is_leaf
            if (isinstance(tensor, nn.Parameter) and not is_lazy(tensor)) or computed:
                known[id(tensor)] = mode.from_tensor(tensor, static_shapes=True)
        for hooks in _hooks(module):
            if not any(_is_of_torch(hook) for hook in hooks.values()):
                known[id(hooks)] = OrderedDict()
    twin = copy.deepcopy(network, known)
    for module in twin.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            for hooks in _hooks(module):
                for key in [k for k, hook in hooks.items() if not _is_of_torch(hook)]:
                    del hooks[key]
    return twin


def _hooks(module: nn.Module) -> tuple[dict[int, Callable[..., Any]], dict[int, Callable[..., Any]]]:
    return module._forward_hooks, module._forward_pre_hooks


def _is_of_torch(hook: Callable[..., Any]) -> bool:
    """Whether a hook is part of how torch computes a module: weight and spectral normalisation, lazy shapes."""
    origin = getattr(hook, "__module__", None) or type(hook).__module__
    return origin.startswith("torch.nn.")


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
