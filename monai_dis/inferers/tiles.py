"""Boxes of neighbouring tiles: what is done in one go costs one round of kernels, whatever its size.

Letters in shapes: ``*tiles`` number of tiles per axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

__all__ = ["ROUND", "Box", "covering_boxes", "exact_boxes", "numbers_at_once"]

Box = tuple[tuple[int, int], ...]
"""First tile and one past the last one, per axis."""

# With the few copies that kernels make of it, within the cache that the cores of a processor share.
_CACHED = 1 << 21
# An accelerator is fed by few large kernels.
_LAUNCHED = 1 << 24
#: Voxels that take as long as a round of kernels does beside its work.
ROUND = 1 << 17


def numbers_at_once(device: torch.device) -> int:
    """How many numbers are worked on in one go: bounded memory, and fast on the device."""
    return _CACHED if device.type == "cpu" else _LAUNCHED


def covering_boxes(marked: np.ndarray, edges: Sequence[np.ndarray], most: int) -> list[Box]:
    """Cover the marked tiles with few boxes; tiles between them may come along where that saves boxes.

    Args:
        marked: (*tiles) bool.
        edges: positions of the tiles' borders per axis, one more than there are tiles.
        most: voxels per box; a box is one tile at least.

    Returns:
        Boxes that do not overlap.

    Example:
        >>> marked = np.array([[True, True, False], [True, True, True]])
        >>> covering_boxes(marked, [np.arange(3), np.arange(4)], 100)
        [((0, 2), (0, 3))]
    """
    return list(_boxes(marked, tuple((0, n) for n in marked.shape), edges, most, ROUND, 0.5))


def exact_boxes(marked: np.ndarray) -> list[Box]:
    """Boxes that do not overlap and hold the marked tiles and no others.

    Example:
        >>> exact_boxes(np.array([[True, True, False], [True, True, True]]))
        [((0, 1), (0, 2)), ((1, 2), (0, 3))]
    """
    edges = [np.arange(n + 1) for n in marked.shape]
    return list(_boxes(marked, tuple((0, n) for n in marked.shape), edges, marked.size, 0, 1.0))


def _boxes(
    marked: np.ndarray, box: Box, edges: Sequence[np.ndarray], most: int, small: int, share: float
) -> Iterator[Box]:
    """Halve a box until it is full enough, or small, and not too large."""
    inside = marked[tuple(slice(a, b) for a, b in box)]
    count = int(np.count_nonzero(inside))
    if count == 0:
        return
    if count < inside.size:
        found = np.nonzero(inside)
        box = tuple((a + int(f.min()), a + int(f.max()) + 1) for (a, _), f in zip(box, found, strict=True))
    extents = [int(e[b] - e[a]) for e, (a, b) in zip(edges, box, strict=True)]
    tiles, volume = math.prod(b - a for a, b in box), math.prod(extents)
    if tiles == 1 or (volume <= most and (count >= share * tiles or volume <= small)):
        yield box
        return
    axis = max((i for i, (a, b) in enumerate(box) if b - a > 1), key=lambda i: extents[i])
    middle = sum(box[axis]) // 2
    for part in ((box[axis][0], middle), (middle, box[axis][1])):
        yield from _boxes(marked, (*box[:axis], part, *box[axis + 1 :]), edges, most, small, share)
