"""``torch.compile``: the same network, compiled; where that fails, the network as it is."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

__all__ = ["CompiledRun"]

logger = logging.getLogger(__name__)


class CompiledRun:
    """Runs a network through ``torch.compile``, and without it from the first failure on, which is logged once.

    Args:
        original: the network, in evaluation mode.
        name: what it is called in the log.
        backend: of ``torch.compile``.
    """

    def __init__(self, original: nn.Module, name: str, backend: str = "inductor") -> None:
        self.original = original
        self.name = name
        self.failed = False
        self._compiled = torch.compile(original, backend=backend)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's answer."""
        if self.failed:
            return self.original(*inputs, **kwargs)
        try:
            return self._compiled(*inputs, **kwargs)
        except Exception as error:  # compilers fail in many ways, and none of them is a reason not to segment
            # An error that is the network's own comes again from here.
            answer = self.original(*inputs, **kwargs)
            self.failed = True
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("torch.compile failed for the %s network, which runs without it (%s).", self.name, reason)
            return answer
