"""Logits as networks take them in: however sure the answer below is, between -1 and 1."""

from __future__ import annotations

from torch import Tensor

from monai_dis.errors import NetworkError

__all__ = ["check_clip", "clipped"]


def check_clip(clip: float) -> float:
    """The bound as a number.

    Raises:
        NetworkError: when it is not above 0.
    """
    if not clip > 0:
        raise NetworkError(f"clip must be above 0, got {clip}.")
    return float(clip)


def clipped(logits: Tensor, clip: float) -> Tensor:
    """Logits of any shape, cut at ``-clip`` and ``clip`` and divided by ``clip``."""
    return logits.clamp(-clip, clip) / clip
