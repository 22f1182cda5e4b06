"""Which picture of a TIFF file is the slide: the largest that is no label, macro or thumbnail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monai_dis.slides.scenes import chosen_scene

__all__ = ["slide_scenes", "slide_series"]

_BESIDE = re.compile(r"label|macro|thumb|preview|overview", re.IGNORECASE)
#: Another picture with this share of the largest one's pixels is another scene, and no level or thumbnail of it.
_SCENE = 0.5


def slide_series(file: Any, path: Path, scene: int | None = None) -> Any:
    """The series of a `tifffile.TiffFile` that is segmented.

    Args:
        file: opened.
        path: of the file, for messages.
        scene: which of several pictures of like size, from 1.

    Raises:
        ImageError: when several pictures are alike in size and none is chosen, or there is none of this number.
    """
    return chosen_scene(path, slide_scenes(file), scene, lambda each: f"{each.name or 'unnamed'} {_size(each)}")


def slide_scenes(file: Any) -> list[Any]:
    """The series that may be meant: the largest that is no label, macro or thumbnail, and others of nearly its size."""
    series = [each for each in file.series if {"Y", "X"} <= set(each.axes)] or list(file.series)
    named = [each for each in series if not _BESIDE.search(each.name or "")] or series
    largest = max(map(_pixels, named))
    return [each for each in named if _pixels(each) >= _SCENE * largest]


def _length(series: Any, axis: str) -> int:
    return int(series.shape[series.axes.index(axis)]) if axis in series.axes else 1


def _pixels(series: Any) -> int:
    return _length(series, "X") * _length(series, "Y")


def _size(series: Any) -> str:
    return f"{_length(series, 'X')} x {_length(series, 'Y')}"
