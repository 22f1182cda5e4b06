"""Whether another runtime answers as PyTorch does.

Letters in shapes: ``B`` batch, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "INT8_TOLERANCE",
    "TOLERANCE",
    "is_sampled",
    "largest_difference",
    "reference_answer",
    "relative_error",
    "tolerance_on",
]

#: Largest difference of two logits, as a share of the largest logit (or of 1, where all are smaller), between a runtime in float32 on
#: a CPU and PyTorch. Sums in another order account for about a hundredth of it.
TOLERANCE = 1e-4

#: Root mean square of the difference of logits between int8 and PyTorch, as a share of the logits' own spread.
INT8_TOLERANCE = 0.1

_FIRST = 3  # calls of each size that are compared
_EVERY = 25  # of the calls after these, one in so many


def tolerance_on(device: torch.device) -> float:
    """The tolerance for inputs on a device; GPUs have kernels that round more."""
    return TOLERANCE if device.type == "cpu" else 10 * TOLERANCE


def is_sampled(call: int) -> bool:
    """Whether an answer is compared with PyTorch's: of each size, the first few and one in 25 after these.

    Args:
        call: how many calls of this size there were before.

    Example:
        >>> [call for call in range(80) if is_sampled(call)]
        [0, 1, 2, 25, 50, 75]
    """
    return call < _FIRST or call % _EVERY == 0


def reference_answer(network: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """PyTorch's own answer in full float32, which GPUs must be asked for, in mixed precision or not."""
    kind = inputs[0].device.type if inputs else "cpu"
    full = torch.autocast(kind, enabled=False)
    with torch.no_grad(), full, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network(*inputs)


def largest_difference(answers: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Largest difference, as a share of the largest value of the reference or of 1.

    Args:
        answers: (B, C, *spatial) each.
        reference: as many.

    Returns:
        The share; infinity where number or shapes differ, or where one has a number and the other has none.

    Example:
        >>> largest_difference([torch.tensor([8.0, 2.0])], [torch.tensor([10.0, 2.0])])
        0.2
    """
    pairs = _pairs(answers, reference)
    if pairs is None:
        return float("inf")
    worst = 0.0
    for a, b in pairs:
        finite = b.isfinite()
        if not torch.equal(a.isfinite(), finite):
            return float("inf")
        if bool(finite.any()):
            scale = max(1.0, float(b[finite].abs().max()))
            worst = max(worst, float((a[finite] - b[finite]).abs().max()) / scale)
    return worst


def relative_error(answers: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Root mean square of the difference, as a share of the spread of the reference, the worst of the answers.

    Rounding to 256 steps moves single logits by as much as the largest step, which says little; what it does to all of them is what
    labels feel.

    Args:
        answers: (B, C, *spatial) each.
        reference: as many.

    Returns:
        The share; infinity where number or shapes differ, or an answer has no number.

    Example:
        >>> round(relative_error([torch.tensor([1.1, -1.1])], [torch.tensor([1.0, -1.0])]), 3)
        0.1
    """
    pairs = _pairs(answers, reference)
    if pairs is None:
        return float("inf")
    worst = 0.0
    for a, b in pairs:
        if not bool(a.isfinite().all() & b.isfinite().all()):
            return float("inf")
        spread = float(b.std(correction=0))
        error = float((a - b).square().mean().sqrt())
        worst = max(worst, error / spread if spread > 0 else (float("inf") if error > 0 else 0.0))
    return worst


def _pairs(answers: Sequence[Tensor], reference: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]] | None:
    """What is to be compared, in float64 and without what is empty; None where number or shapes differ."""
    if [tuple(a.shape) for a in answers] != [tuple(r.shape) for r in reference]:
        return None
    both = zip(answers, reference, strict=True)
    return [(answer.double().cpu(), expected.double().cpu()) for answer, expected in both if answer.numel()]
