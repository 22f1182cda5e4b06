"""An image on disk with levels of falling resolution, of which any region can be read.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
