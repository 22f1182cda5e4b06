"""Whether another runtime answers as PyTorch does.

Letters in shapes: ``B`` batch, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TOLERANCE", "largest_difference", "reference_answer", "tolerance_on"]

#: Largest difference of two logits, as a share of the largest logit (or of 1, where all are smaller), between a runtime in float32 on
#: a CPU and PyTorch. Sums in another order account for about a hundredth of it.
TOLERANCE = 1e-4


def tolerance_on(device: torch.device) -> float:
    """The tolerance for inputs on a device; GPUs have kernels that round more."""
    return TOLERANCE if device.type == "cpu" else 10 * TOLERANCE


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
    if [tuple(a.shape) for a in answers] != [tuple(r.shape) for r in reference]:
        return float("inf")
    worst = 0.0
    for answer, expected in zip(answers, reference, strict=True):
        a, b = answer.double().cpu(), expected.double().cpu()
        if a.numel() == 0:
            continue
        finite = b.isfinite()
        if not torch.equal(a.isfinite(), finite):
            return float("inf")
        if bool(finite.any()):
            scale = max(1.0, float(b[finite].abs().max()))
            worst = max(worst, float((a[finite] - b[finite]).abs().max()) / scale)
    return worst
