"""Tiles of a slide that are missing or damaged: how many, where, and what is shown in their place.

Formats let writers leave tiles out, and readers show those as black, which a network takes for tissue. A tile that is missing on one level
and shows something on the next coarser one was lost; where the coarser level is empty too, it was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_dis.checks.findings import Finding, finding

__all__ = ["Flaw", "finding_of", "ground_of", "is_even"]

_LISTED = 5
_EVEN = 8  # values between which compression moves an empty place
_BYTE = 255


@dataclass(frozen=True)
class Flaw:
    """A tile or chunk that cannot be read.

    Attributes:
        level: of the file, 0 for the finest.
        corner: its first column and row on that level.
        size: columns and rows, inside the level.
        missing: there is nothing at all; otherwise it is cut off or damaged.
    """

    level: int
    corner: tuple[int, int]
    size: tuple[int, int]
    missing: bool


def finding_of(flaws: Sequence[Flaw]) -> Finding:
    """The finding ``PIXELS_MISSING``: how many tiles, and where the first of them are."""
    missing = sum(each.missing for each in flaws)
    kinds = [f"{count} {word}" for count, word in ((missing, "missing"), (len(flaws) - missing, "damaged")) if count]
    places = [f"level {f.level} at {f.corner[0]}, {f.corner[1]} ({f.size[0]} x {f.size[1]})" for f in flaws[:_LISTED]]
    more = f" and {len(flaws) - _LISTED} more" if len(flaws) > _LISTED else ""
    return finding(
        "PIXELS_MISSING",
        f"tiles of the slide cannot be read ({' and '.join(kinds)}): {'; '.join(places)}{more}; get a new copy of it, or relax the "
        "code to take them as empty ground.",
        len(flaws),
    )


def ground_of(channels: int, dtype: np.dtype) -> int:
    """What an empty place looks like: glass on slides in colour, nothing on those of intensities."""
    return _BYTE if channels == len("RGB") and dtype == np.uint8 else 0


def is_even(pixels: NDArray[np.generic]) -> bool:
    """Whether (C, X, Y) shows nothing."""
    values = pixels.reshape(len(pixels), -1).astype(np.float64)
    return bool((values.max(1) - values.min(1) <= _EVEN).all())
