"""Cutting a grid into squares, and the part of another grid that lies under a region.

Letters: ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

__all__ = ["Region", "squares", "under"]

Region = tuple[slice, slice]
"""Columns and rows."""


def squares(size: Sequence[int], side: int) -> Iterator[Region]:
    """Squares of a grid, column by column; those at the far borders are smaller.

    Example:
        >>> [(x.start, x.stop, y.start, y.stop) for x, y in squares((3, 2), 2)]
        [(0, 2, 0, 2), (2, 3, 0, 2)]
    """
    for x, y in product(range(0, size[0], side), range(0, size[1], side)):
        yield slice(x, min(x + side, size[0])), slice(y, min(y + side, size[1]))


def under(region: Sequence[slice], size: Sequence[int], other: Sequence[int], margin: int = 0) -> Region:
    """The voxels of another grid of the same field of view that a region touches.

    Args:
        region: on the grid of a size.
        size: of that grid.
        other: size of the other grid.
        margin: voxels of the other grid to add on every side, inside it.

    Example:
        >>> under((slice(0, 5), slice(4, 8)), (8, 8), (4, 4))
        (slice(0, 3, None), slice(2, 4, None))
    """
    parts = [
        slice(max(0, r.start * m // n - margin), min(m, -(-r.stop * m // n) + margin))
        for r, n, m in zip(region, size, other, strict=True)
    ]
    return parts[0], parts[1]
