"""Networks may answer with a tensor, a list, a tuple or a mapping of tensors; here they become a list and back.

Letters in shapes: ``K`` windows or images, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_dis.errors import NetworkError

__all__ = ["OutputForm", "Ratio", "at_ratio", "flatten_outputs", "scaled_outputs", "sized"]


Ratio = tuple[Fraction, ...] | None
"""Size of an answer as a share of what the network was given, per axis; None where it is the same."""


@dataclass(frozen=True)
class OutputForm:
    """The form in which a network answers.

    Args:
        keys: names of a mapping's entries; None for a tensor or a sequence.
        single: whether the answer is one tensor, bare or alone in a sequence.
        ratios: of the sizes, one for each tensor.
    """

    keys: tuple[Hashable, ...] | None = None
    single: bool = True
    ratios: tuple[Ratio, ...] = (None,)

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
    tensors, form = scaled_outputs(answer, count, size, who)
    for tensor, ratio in zip(tensors, form.ratios, strict=True):
        if ratio is not None:
            raise _misfit(tensor, count, size, who)
    return tensors, form


def scaled_outputs(answer: Any, count: int, size: Sequence[int], who: str) -> tuple[list[Tensor], OutputForm]:
    """`flatten_outputs` for networks whose answers may be smaller or larger than what they are given.

    An answer of half the size covers the same field of view with half as many voxels, as in MONAI's sliding window.
    """
    keys: tuple[Hashable, ...] | None = None
    if isinstance(answer, Tensor):
        tensors, single = [answer], True
    elif isinstance(answer, Mapping):
        tensors, single, keys = list(answer.values()), False, tuple(answer.keys())
    elif isinstance(answer, (list, tuple)):
        # A sequence of one is a tensor, as in MONAI's sliding window.
        tensors, single = list(answer), len(answer) == 1
    else:
        raise NetworkError(f"the {who} must return a tensor, or a sequence or mapping of tensors, got {type(answer)}.")
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise NetworkError(f"the {who} must return tensors only; put it in evaluation mode (eval()) if it adds others.")
    for tensor in tensors:
        if tensor.shape[:1] != (count,) or tensor.ndim != len(size) + 2 or 0 in tensor.shape:
            raise _misfit(tensor, count, size, who)
    ratios = tuple(_ratio(t.shape[2:], size) for t in tensors)
    return [_plain(t) for t in tensors], OutputForm(keys, single, ratios)


def at_ratio(size: Sequence[int], ratio: Ratio) -> tuple[int, ...]:
    """A size, or a corner, on the grid of an answer; rounded down, as in MONAI's sliding window.

    Example:
        >>> at_ratio((41, 30), (Fraction(1, 2), Fraction(2))), at_ratio((41, 30), None)
        ((20, 60), (41, 30))
    """
    return tuple(size) if ratio is None else tuple(math.floor(n * r) for n, r in zip(size, ratio, strict=True))


def sized(weight: Tensor, size: Sequence[int]) -> Tensor:
    """Weights (*roi) of a window for an answer (*size) of it, as MONAI's sliding window takes them."""
    if tuple(weight.shape) == tuple(size):
        return weight
    return F.interpolate(weight[None, None], tuple(size), mode="nearest-exact")[0, 0]


def _ratio(size: Sequence[int], given: Sequence[int]) -> Ratio:
    return None if tuple(size) == tuple(given) else tuple(Fraction(n, g) for n, g in zip(size, given, strict=True))


def _misfit(tensor: Tensor, count: int, size: Sequence[int], who: str) -> NetworkError:
    return NetworkError(
        f"the {who} was given {count} inputs of spatial size {tuple(size)} and returned shape {tuple(tensor.shape)}; it must keep "
        "the number of inputs and their spatial size."
    )


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return plain if plain.dtype == torch.float64 else plain.float()
