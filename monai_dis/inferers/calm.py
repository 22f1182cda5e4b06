"""Ground whose answer is known from the coarse map alone, because no window lies there and the map says one thing.

Letters in shapes: ``B`` batch, ``C`` channels, ``*tiles`` tiles of the field of view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from monai_dis.inferers.score import UNSURE_LOGIT

if TYPE_CHECKING:
    from monai_dis.inferers.mosaic import Mosaic

__all__ = ["CalmGround", "calm_ground"]

# What rounding may do to logits and entropies, with room: such ground is composed.
_ROUNDING = 1e-3
# Products of smaller logits may round to zero, those of infinite ones to nothing that is a number.
_SMALLEST, _LARGEST = 1e-30, 1e30


@dataclass(frozen=True)
class CalmGround:
    """What is known of each tile.

    Args:
        calm: (*tiles) bool, whether the tile's answer is known, in all images.
        labels: (B, 1 or C, *tiles) labels there, one channel for softmax.
        unsure: (B, *tiles) bool, whether its entropy is above 0.5 (everywhere or nowhere).
    """

    calm: np.ndarray
    labels: np.ndarray
    unsure: np.ndarray


def calm_ground(mosaic: Mosaic, need: Sequence[Sequence[np.ndarray]], *, unsure_known: bool) -> CalmGround:
    """Find the tiles whose answer is known.

    Args:
        mosaic: the answer.
        need: by level, the rows of its grid that each tile is made of, (tiles, 2) per axis.
        unsure_known: whether a tile counts as known only if its uncertainty is.
    """
    if not mosaic.in_memory:
        tiles = [len(rows) for rows in need[0]]
        channels = 1 if mosaic.activation == "softmax" else mosaic.channels
        return CalmGround(
            np.zeros(tiles, bool),
            np.zeros((mosaic.images, channels, *tiles), np.int64),
            np.zeros((mosaic.images, *tiles), bool),
        )
    find = _of_classes if mosaic.activation == "softmax" else _of_channels
    known, labels, unsure, settled = (t.cpu().numpy() for t in find(mosaic.coarse, need[0]))
    calm: np.ndarray = np.all(known & settled if unsure_known else known, axis=0)
    for layer, rows in zip(mosaic.layers, need[1:], strict=True):
        if len(layer) == 0:
            continue
        corners = layer.places()[1]
        # Tiles that a window reaches, axis by axis.
        spans = [
            (
                np.searchsorted(own[:, 1], corners[:, axis], side="right"),
                np.searchsorted(own[:, 0], corners[:, axis] + r),
            )
            for axis, (own, r) in enumerate(zip(rows, layer.roi, strict=True))
        ]
        for window in zip(*[zip(a.tolist(), b.tolist(), strict=True) for a, b in spans], strict=True):
            calm[tuple(slice(a, b) for a, b in window)] = False
    return CalmGround(calm, labels, unsure)


def _of_channels(coarse: Tensor, rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Channels on their own: known where none changes its sign.

    Returns:
        Known (B, *tiles), labels (B, C, *tiles), unsure (B, *tiles), and whether that is settled (B, *tiles).
    """
    low, high = -_tile_max(-coarse, rows), _tile_max(coarse, rows)
    # Comparisons with what is no number fail, so that such ground is not known.
    positive = (low >= _SMALLEST) & (high <= _LARGEST)
    known = (positive | (high <= 0) & (low >= -_LARGEST)).all(dim=1)
    nearest, farthest = torch.where(positive, low, -high), torch.where(positive, high, -low)
    sure = (nearest >= UNSURE_LOGIT + _ROUNDING).all(dim=1)
    unsure = (farthest <= UNSURE_LOGIT - _ROUNDING).any(dim=1)
    return known, positive.to(torch.int64), unsure, sure | unsure


def _of_classes(coarse: Tensor, rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Exclusive classes: known where one leads by more than rounding could take away; results as for `_of_channels`."""
    best = coarse.topk(2, dim=1)
    leader = best.indices[:, :1].to(coarse.dtype)
    lead = -_tile_max(best.values[:, 1:] - best.values[:, :1], rows)[:, 0]
    first, last = -_tile_max(-leader, rows), _tile_max(leader, rows)
    size = _tile_max(coarse.abs().amax(dim=1, keepdim=True), rows)[:, 0]
    known = (first == last)[:, 0] & (lead > _ROUNDING * (1 + size)) & (size <= _LARGEST)
    sure = lead >= _sure_lead(coarse.shape[1])
    return known, last.nan_to_num(0).to(torch.int64), torch.zeros_like(known), sure


def _tile_max(values: Tensor, rows: Sequence[np.ndarray]) -> Tensor:
    """Largest values (B, C, *tiles) of the rows that each tile is made of; not a number where one is none."""
    for axis, own in enumerate(rows, start=2):
        values = torch.stack([values.narrow(axis, a, b - a).amax(dim=axis) for a, b in own.tolist()], dim=axis)
    return values


def _sure_lead(classes: int) -> float:
    """The lead over every other class, in logits, from which on the entropy is below 0.5, whatever the others say.

    It is largest where the others share what is left: a share of ``1 / (1 + (C - 1) * exp(-lead))`` for the leader.
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        lead = (low + high) / 2
        p = 1 / (1 + (classes - 1) * math.exp(-lead))
        rest = (1 - p) / (classes - 1)
        entropy = -(p * math.log(p) + (classes - 1) * (rest * math.log(rest) if rest > 0 else 0.0)) / math.log(classes)
        low, high = (lead, high) if entropy > 0.5 - _ROUNDING else (low, lead)
    return high
