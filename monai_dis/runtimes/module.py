"""A network that is computed by another runtime and is PyTorch's in every other way.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from monai_dis.errors import BackendError

__all__ = ["RuntimeModule"]

logger = logging.getLogger(__name__)


class RuntimeModule(nn.Module):
    """The network's answer from a runtime; its shapes, its operations, its training from PyTorch.

    Where the runtime cannot compute the network, or does not answer as PyTorch does, that is logged once, and PyTorch answers from
    then on.

    Operations are counted, and sizes tried, on fake tensors or under a counter: those go to the original, so that what is reported
    is what the network costs, whatever computes it.

    Args:
        original: the network, in evaluation mode.
        run: answers as the original does, by the runtime.
        runtime: its name.
    """

    def __init__(self, original: nn.Module, run: Callable[..., Any], runtime: str) -> None:
        super().__init__()
        self.original = original
        self.run = run
        self.runtime = runtime
        self.given_up = False
        self.train(original.training)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the original returns for image (B, Ci, *spatial) and its further inputs: logits (B, C, *spatial)."""
        if self.training or _is_watched(inputs):
            return self.original(*inputs, **kwargs)
        if self.given_up:
            return self.original(*inputs, **kwargs)
        try:
            return self.run(*inputs, **kwargs)
        except BackendError as error:
            answer = self.original(*inputs, **kwargs)  # an error that is the network's own comes again from here
            self.given_up = True
            self.run = _nothing  # its models are not needed any more
            logger.warning("%s It runs in PyTorch from here on.", _sentence(str(error)))
            return answer

    def __deepcopy__(self, memo: dict[int, Any]) -> RuntimeModule:
        """A copy of the network; the runtime's session, which cannot be copied and keeps nothing of a call, is shared."""
        twin = RuntimeModule(copy.deepcopy(self.original, memo), self.run, self.runtime)
        twin.given_up = self.given_up
        return twin

    def extra_repr(self) -> str:
        """Shown by ``print``."""
        return f"runtime={self.runtime!r}" + (", given_up=True" if self.given_up else "")


def _is_watched(inputs: tuple[Any, ...]) -> bool:
    """Whether somebody looks at the single operations, which only PyTorch's have: a counter, a profiler, fake tensors."""
    if _get_current_dispatch_mode_stack():
        return True
    return any(isinstance(x, Tensor) and (x.is_meta or isinstance(x, FakeTensor)) for x in inputs)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _nothing(*inputs: Any, **kwargs: Any) -> Any:
    raise BackendError("the runtime was given up.")
