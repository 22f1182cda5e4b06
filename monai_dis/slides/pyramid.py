"""An image on disk with levels of falling resolution, of which any region can be read.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_dis.errors import ImageError
from monai_dis.slides.flaws import Flaw, is_even

__all__ = ["Pyramid", "Size", "overview_size"]

Size = tuple[int, int]
"""Columns and rows."""

OVERVIEW = 2048  # pixels of the longer side, at most: the overview and what depends on it stay small whatever the slide


class Pyramid(ABC):
    """The levels of one image file.

    Attributes:
        path: the file.
        sizes: columns and rows of each level, finest first.
        channels: colours or stains; transparency does not count.
        dtype: type of the pixels.
        spacing_um: micrometres per pixel of the finest level, columns and rows; None where the file does not say.
        file_bytes: size of the file.
        bytes_read: bytes of pixels that were read so far, with repetitions; None where the reader cannot tell.
        bytes_touched: the same without repetitions.
    """

    path: Path
    sizes: tuple[Size, ...]
    channels: int
    dtype: np.dtype
    spacing_um: tuple[float, float] | None
    file_bytes: int
    bytes_read: int | None = None
    bytes_touched: int | None = None
    _ground: frozenset[tuple[int, tuple[int, int]]] | set[tuple[int, tuple[int, int]]] = frozenset()

    @abstractmethod
    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """Pixels of a region.

        Args:
            level: index in `sizes`.
            corner: first column and row, on that level.
            size: columns and rows; the region lies inside the level.

        Returns:
            (C, X, Y).

        Raises:
            ImageError: when the file is damaged there.
        """

    def find_flaws(self, decode: bool = False) -> list[Flaw]:
        """Tiles that are missing or damaged, as far as the reader can tell.

        Args:
            decode: decode every tile, which finds more and takes as long as reading all of the file.
        """
        return []

    def mend(self, flaws: Iterable[Flaw]) -> None:
        """From now on show these tiles as empty ground."""
        if not isinstance(self._ground, set):
            self._ground = set()
        self._ground.update((each.level, each.corner) for each in flaws)  # by the tile's place: there may be many

    def lost(self, flaws: Iterable[Flaw]) -> list[Flaw]:
        """Those flaws that were no empty places when the slide was written; the others are shown as ground from now on.

        A tile that is missing was left out by its writer where the next coarser level shows nothing there.
        """
        lost: list[Flaw] = []
        for flaw in sorted(flaws, key=lambda each: -each.level):  # coarse levels first: finer ones are judged by them
            if flaw.missing and flaw.level + 1 < len(self.sizes) and self._is_empty(flaw):
                self.mend([flaw])
            else:
                lost.append(flaw)
        return lost[::-1]

    def _is_empty(self, flaw: Flaw) -> bool:
        size, field = self.sizes[flaw.level + 1], self.field_of(flaw.level + 1)
        here = self.field_of(flaw.level)
        starts = [int(c * f / h) for c, f, h in zip(flaw.corner, field, here, strict=True)]
        stops = [ceil((c + n) * f / h) for c, n, f, h in zip(flaw.corner, flaw.size, field, here, strict=True)]
        corner = [min(a, n - 1) for a, n in zip(starts, size, strict=True)]
        extent = [max(1, min(b, n) - a) for a, b, n in zip(corner, stops, size, strict=True)]
        try:
            return is_even(self.read(flaw.level + 1, corner, extent))
        except ImageError:
            return False

    @property
    def size(self) -> Size:
        """Columns and rows of the finest level."""
        return self.sizes[0]

    def field_of(self, level: int) -> tuple[Fraction, Fraction]:
        """The slide's field of view in pixels of a level, columns and rows.

        Levels are made by averaging squares of pixels, and most writers drop what does not fill one: the halves of 767 pixels are 383
        pixels twice as wide, of a field of 383.5. Where sizes are not those of such a level, it is taken to show all of the slide.
        """
        fields = []
        for whole, pixels in zip(self.size, self.sizes[level], strict=True):
            factor = round(whole / pixels)
            fields.append(
                Fraction(whole, factor) if pixels in (whole // factor, -(-whole // factor)) else Fraction(pixels)
            )
        return fields[0], fields[1]

    def level_of(self, grid: Sequence[int]) -> int:
        """The coarsest level that is nowhere coarser than a grid of the same field of view."""
        fit = [k for k, size in enumerate(self.sizes) if all(n >= g for n, g in zip(size, grid, strict=True))]
        return fit[-1] if fit else 0


def overview_size(pyramid: Pyramid) -> Size:
    """Size of the overview: that of the largest level of at most 2,048 pixels, unless the file has only tiny ones.

    Returns:
        columns and rows, 2,048 at most; those of the image itself where it is small.
    """
    for size in pyramid.sizes:
        if OVERVIEW // 4 <= max(size) <= OVERVIEW:
            return size
    shrink = max(1.0, max(pyramid.size) / OVERVIEW)
    return max(1, int(pyramid.size[0] / shrink)), max(1, int(pyramid.size[1] / shrink))
