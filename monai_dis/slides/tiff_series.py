"""Which picture of a TIFF file is the slide: the largest that is no label, macro or thumbnail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monai_dis.errors import ImageError

__all__ = ["slide_series"]

_BESIDE = re.compile(r"label|macro|thumb|preview|overview", re.IGNORECASE)
#: Another picture with this share of the largest one's pixels is another scene, and no level or thumbnail of it.
_SCENE = 0.5


def slide_series(file: Any, path: Path) -> Any:
    """The series of a `tifffile.TiffFile` that is segmented.

    Raises:
        ImageError: when several pictures are alike in size, so that it is not clear which is meant.
    """
    series = [each for each in file.series if {"Y", "X"} <= set(each.axes)] or list(file.series)
    named = [each for each in series if not _BESIDE.search(each.name or "")] or series
    largest = max(named, key=_pixels)
    alike = [each for each in named if _pixels(each) >= _SCENE * _pixels(largest)]
    if len(alike) > 1:
        listed = ", ".join(
            f"{number}: {each.name or 'unnamed'} {_size(each)}" for number, each in enumerate(alike, start=1)
        )
        raise ImageError(
            f"{path} holds {len(alike)} pictures ({listed}); save the one to segment as a file of its own."
        )
    return largest


def _length(series: Any, axis: str) -> int:
    return int(series.shape[series.axes.index(axis)]) if axis in series.axes else 1


def _pixels(series: Any) -> int:
    return _length(series, "X") * _length(series, "Y")


def _size(series: Any) -> str:
    return f"{_length(series, 'X')} x {_length(series, 'Y')}"
