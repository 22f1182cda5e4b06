"""Networks may answer with a tensor, a list, a tuple or a mapping of tensors; here they become a list and back.

Letters in shapes: ``K`` windows or images, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_dis.errors import NetworkError

__all__ = ["OutputForm", "flatten_outputs"]


@dataclass(frozen=True)
class OutputForm:
    """The form in which a network answers.

    Args:
        keys: names of a mapping's entries; None for a tensor or a sequence.
        single: whether the answer is one tensor, bare or alone in a sequence.
    """

    keys: tuple[Hashable, ...] | None = None
    single: bool = True

    def pack(self, tensors: Sequence[Tensor]) -> Any:
        """Give tensors the form of the network's own answer; sequences become tuples, as in MONAI."""
        if self.keys is not None:
            return dict(zip(self.keys, tensors, strict=True))
        return tensors[0] if self.single else tuple(tensors)


def flatten_outputs(answer: Any, count: int, size: Sequence[int], who: str) -> tuple[list[Tensor], OutputForm]:
    """Check a network's answer and take it apart; the first tensor is the primary one, which is scored.

    Args:
        answer: what the network returned.
        count: number of images or windows that it was given.
        size: spatial size of what it was given.
        who: name of the network in messages.

    Returns:
        Plain tensors (K, C, *size), 16-bit ones as float32, and the form they came in.

    Raises:
        NetworkError: when it is no tensor, or of another batch size or spatial size than the input.
    """
    if isinstance(answer, Tensor):
        tensors, form = [answer], OutputForm()
    elif isinstance(answer, Mapping):
        tensors, form = list(answer.values()), OutputForm(keys=tuple(answer.keys()), single=False)
    elif isinstance(answer, (list, tuple)):
        # A sequence of one is a tensor, as in MONAI's sliding window.
        tensors, form = list(answer), OutputForm(single=len(answer) == 1)
    else:
        raise NetworkError(f"the {who} must return a tensor, or a sequence or mapping of tensors, got {type(answer)}.")
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise NetworkError(f"the {who} must return tensors only; put it in evaluation mode (eval()) if it adds others.")
    for tensor in tensors:
        if tensor.shape[:1] != (count,) or tuple(tensor.shape[2:]) != tuple(size):
            raise NetworkError(
                f"the {who} was given {count} inputs of spatial size {tuple(size)} and returned shape "
                f"{tuple(tensor.shape)}; it must keep the number of inputs and their spatial size."
            )
    return [_plain(t) for t in tensors], form


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return plain if plain.dtype == torch.float64 else plain.float()
