"""A slide whose file says that it is to be shown turned or mirrored (TIFF tag Orientation): its regions as they are shown.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from monai_dis.slides.flaws import Flaw
from monai_dis.slides.pyramid import Pyramid

__all__ = ["TurnedPyramid"]

#: By the tag's value: whether columns and rows change places, and which of them run backwards after that (TIFF 6.0, section 8).
_TURNS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


class TurnedPyramid(Pyramid):
    """Another pyramid as it is to be shown.

    Args:
        stored: as it lies in the file.
        orientation: value of the tag, 2 to 8.
    """

    def __init__(self, stored: Pyramid, orientation: int) -> None:
        self._stored = stored
        self._swapped, *self._backwards = _TURNS[orientation]
        self.path, self.channels, self.dtype, self.file_bytes = (
            stored.path,
            stored.channels,
            stored.dtype,
            stored.file_bytes,
        )
        self.sizes = tuple((size[1], size[0]) if self._swapped else size for size in stored.sizes)
        spacing = stored.spacing_um
        self.spacing_um = None if spacing is None else (spacing[1], spacing[0]) if self._swapped else spacing

    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """See `Pyramid.read`."""
        first = [
            whole - int(start) - int(length) if backwards else int(start)
            for whole, start, length, backwards in zip(self.sizes[level], corner, size, self._backwards, strict=True)
        ]
        length = [int(n) for n in size]
        if self._swapped:
            first, length = first[::-1], length[::-1]
        values = self._stored.read(level, first, length)
        if self._swapped:
            values = values.transpose(0, 2, 1)
        for axis, backwards in enumerate(self._backwards, start=1):
            values = np.flip(values, axis) if backwards else values
        return np.ascontiguousarray(values)

    def find_flaws(self, decode: bool = False) -> list[Flaw]:
        """See `Pyramid.find_flaws`; places are those of the file."""
        return self._stored.find_flaws(decode)

    def lost(self, flaws: Iterable[Flaw]) -> list[Flaw]:
        """See `Pyramid.lost`."""
        return self._stored.lost(flaws)

    def mend(self, flaws: Iterable[Flaw]) -> None:
        """See `Pyramid.mend`."""
        self._stored.mend(flaws)

    @property
    def bytes_read(self) -> int | None:  # type: ignore[override]
        """See `Pyramid`."""
        return self._stored.bytes_read

    @property
    def bytes_touched(self) -> int | None:  # type: ignore[override]
        """See `Pyramid`."""
        return self._stored.bytes_touched
