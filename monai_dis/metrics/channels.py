"""Overlapping classes as the measures take them: a channel for each. ``C`` classes, ``*spatial`` two or three axes."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

__all__ = ["plain_channels"]


def plain_channels(values: torch.Tensor, truth: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities or masks and their truth without metadata, a channel for each class, on one grid.

    Args:
        values: ``(C, *spatial)``.
        truth: ``(C, *spatial)``.
        classes: number of classes.

    Raises:
        ValueError: when they have other shapes.
    """
    plain, there = (t.as_tensor() if isinstance(t, MetaTensor) else torch.as_tensor(t) for t in (values, truth))
    if plain.shape != there.shape:
        raise ValueError(
            f"the prediction is {tuple(plain.shape)}, the truth {tuple(there.shape)}: bring them to one grid."
        )
    if plain.ndim < 2 or plain.shape[0] != classes:
        raise ValueError(
            f"{classes} classes need {classes} channels before the spatial axes, not {tuple(plain.shape)}."
        )
    return plain, there
