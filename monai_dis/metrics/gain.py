"""How good a choice of windows is: the share of a perfect choice's gain that it captures. ``N`` windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["gain_recall"]


def gain_recall(gains: torch.Tensor | Sequence[float], order: torch.Tensor | Sequence[int]) -> torch.Tensor:
    """Share of the oracle's gain that the first 1, 2, 3, ... windows of a choice bring.

    The oracle knows the gains and takes the best windows, and none that makes the image worse.

    Args:
        gains: ``(N,)`` what each window improves when it is refined, such as pixels set right minus pixels spoilt;
            windows that overlap share their gains, for which this measure is only an estimate.
        order: indices of the windows in the order of the choice, best first; it may stop before ``N``.

    Returns:
        ``(len(order),)`` float64: at ``k - 1``, the gain of the first ``k`` windows of the choice divided by the
        oracle's with ``k`` windows; 1 at best, negative where the choice spoils the image, nan where there is nothing
        to gain.

    Raises:
        ValueError: when an index is taken twice or is out of range.

    Example:
        >>> gain_recall([4.0, 1.0, 3.0, -2.0], [2, 0, 3]).tolist()
        [0.75, 1.0, 0.625]
    """
    values = torch.as_tensor(gains, dtype=torch.float64).flatten()
    chosen = torch.as_tensor(order, dtype=torch.long).flatten()
    if len(torch.unique(chosen)) != len(chosen) or bool(((chosen < 0) | (chosen >= len(values))).any()):
        raise ValueError(f"order must name each of the {len(values)} windows at most once, counted from 0.")
    captured = values[chosen].cumsum(0)
    oracle = values.clamp(min=0).sort(descending=True).values.cumsum(0)[: len(chosen)]
    return torch.where(oracle > 0, captured / oracle, torch.nan)
