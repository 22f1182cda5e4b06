"""What a network computes, read off one of its own answers: the key under which an export of it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from monai_dis.bundle.weights import weights_digest

__all__ = ["computed_digest", "versions"]


def computed_digest(network: nn.Module, inputs: Sequence[Tensor], answer: Callable[[], Any]) -> tuple[Any, str]:
    """An answer of a network, and a digest of what was computed for it.

    A digest of classes and weights would not do: functions kept as attributes, closures and plain tensors are part of what is
    computed and stand in no state dict. So the calls themselves are noted, with their numbers and where each tensor came from. A
    network that branches on values or sizes may have several digests, which costs another export and no wrong one.

    Args:
        network: in evaluation mode.
        inputs: what it is given.
        answer: runs it on them.

    Returns:
        the answer, and SHA-256 in hexadecimal.
    """
    known = [(x, f"input {i} {x.dtype} {x.ndim} {x.shape[1:2]}") for i, x in enumerate(inputs)]
    known += [(value, name) for name, value in (*network.named_parameters(), *network.named_buffers())]
    with _Calls(known) as calls:
        given = answer()
    calls.note("answer", (given,))
    calls.digest.update(weights_digest(network).encode())
    return given, calls.digest.hexdigest()


def versions(*packages: str) -> str:
    """The packages with their versions, for keys."""
    return " ".join(f"{name} {_version(name)}" for name in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class _Calls(TorchFunctionMode):
    """Notes every call of PyTorch's functions: name, numbers, and which tensors went in."""

    def __init__(self, known: Iterable[tuple[Tensor, str]]) -> None:
        super().__init__()
        self.known: Any = WeakIdKeyDictionary()  # an id is a name for as long as the tensor lives
        for tensor, name in known:
            self.known[tensor] = name
        self.digest = hashlib.sha256()
        self._count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.note(resolve_name(func) or getattr(func, "__qualname__", repr(type(func))), (args, dict(kwargs)))
        given = func(*args, **kwargs)
        for each in tree_leaves(given):
            if isinstance(each, Tensor) and each not in self.known:
                self._count += 1
                self.known[each] = f"value {self._count}"
        return given

    def note(self, name: str, arguments: Any) -> None:
        leaves, form = tree_flatten(arguments)
        words = ", ".join(map(self._word, leaves))
        self.digest.update(f"{name}({words}) {form};".encode())

    def _word(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return self.known.get(value) or self._content(value)
        if isinstance(value, (bool, int, float, complex, str, type(None), torch.dtype, torch.layout, slice)):
            return repr(value)
        return type(value).__qualname__

    @staticmethod
    def _content(value: Tensor) -> str:
        """A tensor that came from nowhere is a constant of the network."""
        with torch._C.DisableTorchFunction():
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(flat.numpy().tobytes()).hexdigest()}"
