"""Outlines of objects in a label image, exact to the pixel, from its tiles: corners are collected tile by tile and linked at the end.

An outline runs along the edges of pixels. On every line of the pixels' lattice the corners of a mask lie in pairs, each the two ends of a
straight edge, so that sorting the corners by row and by column gives all edges, whatever tiles they were found in. Pixels that
touch at a corner alone belong to two objects.

Letters: ``N`` corners, ``R`` rings; places are (column, row) of the lattice, where pixel ``i`` covers ``i`` to ``i + 1``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_dis.slides.labels import LABEL_TILE, LabelTiles

__all__ = ["Polygon", "corners_of", "polygons"]

Ring = list[tuple[int, int]]

# Kinds of corners, where two pixels touch at one: falling from left to right, or rising. With them goes whether the pixel to the lower
# right is inside the mask.
_PLAIN, _FALLING, _RISING, _INSIDE = 0, 1, 2, 4


@dataclass(frozen=True)
class Polygon:
    """One object.

    Args:
        outer: its outline as a closed walk, first place not repeated.
        holes: outlines of what it leaves out.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def corners_of(
    tiles: LabelTiles,
    is_inside: Callable[[NDArray[np.generic]], NDArray[np.bool_]],
    level: int = 0,
    most: int | None = None,
) -> NDArray[np.int32] | None:
    """The corners of a mask's outlines.

    Args:
        tiles: the label image.
        is_inside: labels to the mask.
        level: of the label image.
        most: give up at more corners than this.

    Returns:
        (N, 3) of column, row and kind; None when there are more than ``most``.
    """
    columns, rows = tiles.sizes[level]
    across, down = tiles.counts(level)
    found, count = [], 0
    for row in range(down):
        for column in range(across):
            near = [(column - 1, row - 1), (column, row - 1), (column - 1, row), (column, row)]
            if all(tiles.is_empty(level, *place) for place in near):
                continue
            labels = _with_neighbours(tiles, level, column, row)
            corners = _corners(np.asarray(is_inside(labels)), column * LABEL_TILE, row * LABEL_TILE)
            # Beyond the last tile lies one more line of the lattice; inside, it is the next tile's first.
            last = (
                columns if column == across - 1 else (column + 1) * LABEL_TILE - 1,
                rows if row == down - 1 else (row + 1) * LABEL_TILE - 1,
            )
            corners = corners[(corners[:, 0] <= last[0]) & (corners[:, 1] <= last[1])]
            found.append(corners)
            count += len(corners)
            if most is not None and count > most:
                return None
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.int32)


def polygons(corners: NDArray[np.int32]) -> Iterator[Polygon]:
    """Link corners to the polygons of the objects.

    Args:
        corners: (N, 3), see `corners_of`; memory is about a hundred bytes for each.

    Yields:
        Polygons whose rings touch neither themselves nor each other but in single places.
    """
    x, y = corners[:, 0].copy().data, corners[:, 1].copy().data
    rings = [part for ring in _rings(corners) for part in _split(ring)]
    # The pixel inside the ring at its upper left corner tells an object from a hole.
    first = [min(ring, key=lambda k: (y[k], x[k])) for ring in rings]
    is_object = [bool(corners[k, 2] & _INSIDE) for k in first]
    holes: dict[int, list[int]] = {}
    for number, parent in _parents(rings, first, is_object, x, y).items():
        holes.setdefault(parent, []).append(number)
    for number, ring in enumerate(rings):
        if is_object[number]:
            inner = tuple([(x[k], y[k]) for k in rings[hole]] for hole in holes.get(number, ()))
            yield Polygon([(x[k], y[k]) for k in ring], inner)


def _with_neighbours(tiles: LabelTiles, level: int, column: int, row: int) -> NDArray[np.generic]:
    """A tile, the last row and column of the tiles before it, and a row and a column of background behind it."""
    n = LABEL_TILE
    out = np.zeros((n + 2, n + 2), dtype=tiles.dtype)
    out[1:-1, 1:-1] = tiles.tile(level, column, row)
    out[0, 1:-1] = tiles.tile(level, column, row - 1)[-1]
    out[1:-1, 0] = tiles.tile(level, column - 1, row)[:, -1]
    out[0, 0] = tiles.tile(level, column - 1, row - 1)[-1, -1]
    return out


def _corners(mask: NDArray[np.bool_], column: int, row: int) -> NDArray[np.int32]:
    """Corners (N, 3) inside a mask, whose first inner place of the lattice is given."""
    a, b, c, d = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
    count = a.astype(np.int8) + b + c + d
    touching = (count == 2) & (a == d)
    y, x = np.nonzero((count == 1) | (count == 3) | touching)
    kind = np.where(touching[y, x], np.where(a[y, x], _FALLING, _RISING), _PLAIN) + np.where(d[y, x], _INSIDE, 0)
    return np.stack([x + column, y + row, kind], axis=1).astype(np.int32)


def _partners(order: NDArray[np.int64]) -> NDArray[np.int64]:
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def _rings(corners: NDArray[np.int32]) -> Iterator[list[int]]:
    """Walk along rows and columns in turn until each corner was met, twice where pixels touch; numbers of the corners.

    Of two pixels that touch, the upper one's node comes first along the column. Along the row it is first where the pixels fall from left
    to right (its lower edge lies to the left of the corner), and second where they rise.
    """
    kind = corners[:, 2] & ~_INSIDE
    double = np.flatnonzero(kind != _PLAIN)
    corner = np.concatenate([np.arange(len(corners)), double])
    x, y, kind = corners[corner, 0], corners[corner, 1], kind[corner]
    lower = np.arange(len(corner)) >= len(corners)
    second_in_row = np.where(kind == _RISING, ~lower, lower) & (kind != _PLAIN)
    # Views of arrays: lists of as many Python numbers would be several times as large.
    along_row = _partners(np.lexsort((second_in_row, x, y))).data
    along_column = _partners(np.lexsort((lower, y, x))).data
    number = corner.data
    met = bytearray(len(number))
    for first in range(len(number)):
        ring, node = [], first
        while not met[node]:
            other = along_row[node]
            met[node] = met[other] = 1
            ring += [number[node], number[other]]
            node = along_column[other]
        if ring:
            yield ring


def _split(ring: list[int]) -> list[list[int]]:
    """Part a ring wherever it meets one of its own corners again, so that no ring touches itself."""
    parts: list[list[int]] = []
    walk: list[int] = []
    seen: dict[int, int] = {}
    for corner in ring:
        if corner not in seen:
            seen[corner] = len(walk)
            walk.append(corner)
            continue
        start = seen[corner]
        parts.append(walk[start:])
        for gone in walk[start + 1 :]:
            del seen[gone]
        del walk[start + 1 :]
    return [*parts, walk]


def _parents(
    rings: Sequence[Sequence[int]], first: Sequence[int], is_object: Sequence[bool], x: memoryview, y: memoryview
) -> dict[int, int]:
    """For each hole the object that it lies in: that of the next edge to the left of the hole's first pixel.

    Args:
        rings: numbers of corners.
        first: the upper left corner of each.
        is_object: whether it is the outline of an object.
        x: columns of the corners.
        y: rows of the corners.
    """
    starts: dict[int, list[tuple[int, int]]] = {}
    for number, corner in enumerate(first):
        if not is_object[number]:
            starts.setdefault(y[corner], []).append((x[corner], number))
    rows = sorted(starts)
    begin: dict[int, list[tuple[int, int]]] = {}
    end: dict[int, list[tuple[int, int]]] = {}
    for number, ring in enumerate(rings):
        for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
            top, bottom = min(y[a], y[b]), max(y[a], y[b])
            # Only edges beside the first pixel of a hole are of use; none is horizontal, which would have no height.
            at = bisect_left(rows, top)
            if at < len(rows) and rows[at] < bottom:
                begin.setdefault(rows[at], []).append((x[a], number))
                end.setdefault(bottom, []).append((x[a], number))
    parents: dict[int, int] = {}
    active: list[tuple[int, int]] = []
    for row in sorted({*begin, *end}):
        for edge in end.get(row, ()):
            del active[bisect_left(active, edge)]
        for edge in begin.get(row, ()):
            insort(active, edge)
        # From left to right, so that a hole behind another finds that one's object known.
        for column, hole in sorted(starts.get(row, ())):
            left = active[bisect_left(active, (column, -1)) - 1][1]
            parents[hole] = left if is_object[left] else parents[left]
    return parents
