"""Tiled and pyramidal TIFF, BigTIFF, SVS and OME-TIFF, one encoded tile at a time.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from monai_dis.data.tiff_pixels import TiffPixels
from monai_dis.errors import ImageError
from monai_dis.slides.extra import require
from monai_dis.slides.flaws import Flaw, ground_of
from monai_dis.slides.pyramid import Pyramid
from monai_dis.slides.scenes import planes_sentence
from monai_dis.slides.tiff_series import slide_series
from monai_dis.slides.units import um_per_unit

__all__ = ["TiffPyramid"]

_CACHE_BYTES = 64 << 20
_LARGEST_SEGMENT = 64 << 20  # bytes of one decoded tile or strip
_JPEG = (6, 7, 33007)
_JPEG_END = b"\xff\xd9"
_TAIL = 64  # bytes at the end of a tile: some writers pad it
_COARSEST_UM = 50.0  # a resolution tag beyond this is a printer's, not a microscope's


class TiffPyramid(Pyramid):
    """A TIFF file: the largest of its pictures, with its levels.

    Memory: the decoded tiles that were read last, 64 MiB at most.

    Args:
        path: the file.
        scene: which of several pictures of like size, from 1.

    Raises:
        ImageError: when it is damaged, has stacks or times, or is not cut into tiles or strips of a size that can be read.
    """

    def __init__(self, path: Path, scene: int | None = None) -> None:
        tifffile = require("tifffile", f"reading {path}")
        self.path = path
        self.file_bytes = path.stat().st_size
        with _explained(path):
            self._file = tifffile.TiffFile(path)
            finalize(self, self._file.close)
            series = slide_series(self._file, path, scene)
            self._levels = [_pages(level, path) for level in series.levels]
        first = self._levels[0][0]
        self.sizes = tuple((int(pages[0].imagewidth), int(pages[0].imagelength)) for pages in self._levels)
        self._pixels = [[_pixels(page) for page in pages] for pages in self._levels]
        for pixels in (each for level in self._pixels for each in level):
            pixels.check(path)
        pixels = self._pixels[0][0]
        self.dtype = pixels.dtype or np.dtype(first.dtype)
        self.orientation = int(first.tags.valueof("Orientation", 1))
        self.channels = pixels.channels if len(self._levels[0]) == 1 else len(self._levels[0])
        self.spacing_um = _spacing_um(self._file, first)
        self.bytes_read = self.bytes_touched = 0
        self._touched: set[tuple[int, int, int]] = set()
        self._cache: OrderedDict[tuple[int, int, int], NDArray[np.generic]] = OrderedDict()
        self._cached = 0

    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """See `Pyramid.read`."""
        parts = []
        for number, page in enumerate(self._levels[level]):
            stored = np.zeros((int(page.samplesperpixel), int(size[0]), int(size[1])), dtype=page.dtype)
            for channel in range(len(stored) if _is_planar(page) else 1):
                into = stored[channel : channel + 1] if _is_planar(page) else stored
                self._fill(into, level, number, page, channel, corner)
            parts.append(self._pixels[level][number].converted(stored))
        pixels = np.concatenate(parts).astype(self.dtype, copy=False)
        if self._ground:
            self._paint(pixels, level, corner)
        return pixels

    def _paint(self, pixels: NDArray[np.generic], level: int, corner: Sequence[int]) -> None:
        """Set what lies under tiles that are shown as ground in a region (C, X, Y)."""
        page, (left, top) = self._levels[level][0], (int(n) for n in corner)
        columns, rows = int(page.chunks[1]), int(page.chunks[0])
        for y in range(top // rows * rows, top + pixels.shape[2], rows):
            for x in range(left // columns * columns, left + pixels.shape[1], columns):
                if (level, (x, y)) in self._ground:
                    part = slice(max(x - left, 0), x + columns - left), slice(max(y - top, 0), y + rows - top)
                    pixels[:, part[0], part[1]] = ground_of(self.channels, self.dtype)

    def find_flaws(self, decode: bool = False) -> list[Flaw]:
        """See `Pyramid.find_flaws`."""
        found: dict[tuple[int, int, int], bool] = {}
        for level, number, page, index in self._segments():
            problem = self._problem(page, index)
            if not problem and decode:
                try:
                    self._segment(level, number, page, index)
                except ImageError:
                    problem = "damaged"
            if problem:
                place = index % (len(page.dataoffsets) // (page.samplesperpixel if _is_planar(page) else 1))
                key = (level, *_column_and_row(page, place))
                found[key] = found.get(key, True) and problem == "missing"
        return [_flaw(self._levels[key[0]][0], key, missing) for key, missing in sorted(found.items())]

    def _segments(self) -> Iterator[tuple[int, int, Any, int]]:
        for level, pages in enumerate(self._levels):
            for number, page in enumerate(pages):
                for index in range(len(page.dataoffsets)):
                    yield level, number, page, index

    def _problem(self, page: Any, index: int) -> str:
        """What is wrong with a tile, by what the header says of it and by its last bytes."""
        count, offset = int(page.databytecounts[index]), int(page.dataoffsets[index])
        if count == 0 or offset == 0:
            return "missing"
        if offset + count > self.file_bytes:
            return "damaged"
        if int(page.compression) in _JPEG:
            handle = self._file.filehandle
            handle.seek(offset + max(0, count - _TAIL))
            # decoders of JPEG make grey of what is missing, and do not say so
            if _JPEG_END not in handle.read(min(count, _TAIL)):
                return "damaged"
        return ""

    def _fill(
        self, out: NDArray[np.generic], level: int, number: int, page: Any, channel: int, corner: Sequence[int]
    ) -> None:
        """Fill (C, X, Y) from the tiles of one page that meet it."""
        rows, columns = int(page.chunks[0]), int(page.chunks[1])
        across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
        left, top = int(corner[0]), int(corner[1])
        right, bottom = left + out.shape[1], top + out.shape[2]
        for row in range(top // rows, -(-bottom // rows)):
            for column in range(left // columns, -(-right // columns)):
                if (level, (column * columns, row * rows)) in self._ground:
                    continue
                tile = self._segment(level, number, page, (channel * down + row) * across + column)
                x, y = column * columns, row * rows
                a, b = max(left, x), min(right, x + tile.shape[1])
                c, d = max(top, y), min(bottom, y + tile.shape[2])
                out[:, a - left : b - left, c - top : d - top] = tile[: out.shape[0], a - x : b - x, c - y : d - y]

    def _segment(self, level: int, number: int, page: Any, index: int) -> NDArray[np.generic]:
        """One decoded tile or strip (C, X, Y)."""
        key = (level, number, index)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if problem := self._problem(page, index):
            raise ImageError(f"{self.path} is cut off or damaged (a tile is {problem}); get a new copy of it.")
        count = int(page.databytecounts[index])
        with _explained(self.path):
            handle = self._file.filehandle
            handle.seek(page.dataoffsets[index])
            encoded = handle.read(count)
            if len(encoded) < count:
                raise ImageError(f"{self.path} is cut off or damaged; get a new copy of it.")
            decoded, _, shape = page.decode(encoded, index, jpegtables=page.jpegtables)
        assert self.bytes_read is not None and self.bytes_touched is not None
        self.bytes_read += count
        if key not in self._touched:
            self._touched.add(key)
            self.bytes_touched += count
        if decoded is None:
            raise ImageError(f"{self.path} is cut off or damaged (a tile is missing); get a new copy of it.")
        # (depth, rows, columns, samples); what an edge tile holds beyond the image is cut off.
        tile = np.ascontiguousarray(decoded[0, : shape[1], : shape[2]].transpose(2, 1, 0))
        self._cache[key] = tile
        self._cached += tile.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return tile


def _pages(level: Any, path: Path) -> list[Any]:
    """The pages of a level: one, or one for each channel."""
    axes = "".join(axis for axis, n in zip(level.axes, level.shape, strict=True) if n > 1 or axis in "YX")
    if set(axes) - set("YXSC") or not {"Y", "X"} <= set(axes):
        raise ImageError(planes_sentence(path, dict(zip(level.axes, level.shape, strict=True))))
    pages = [page.aspage() if hasattr(page, "aspage") else page for page in level.pages]
    for page in pages:
        if np.prod(page.chunks, dtype=np.int64) * page.dtype.itemsize > _LARGEST_SEGMENT:
            raise ImageError(f"{path} is not cut into tiles; save it as a tiled TIFF.")
    return pages


def _column_and_row(page: Any, place: int) -> tuple[int, int]:
    across = -(-int(page.imagewidth) // int(page.chunks[1]))
    return place % across, place // across


def _flaw(page: Any, key: tuple[int, int, int], missing: bool) -> Flaw:
    rows, columns = int(page.chunks[0]), int(page.chunks[1])
    x, y = key[1] * columns, key[2] * rows
    return Flaw(key[0], (x, y), (min(columns, page.imagewidth - x), min(rows, page.imagelength - y)), missing)


def _is_planar(page: Any) -> bool:
    return bool(page.samplesperpixel > 1 and page.planarconfig == 2)


def _pixels(page: Any) -> TiffPixels:
    """What the numbers of a page mean."""
    return TiffPixels(
        photometric=int(page.photometric),
        bits=int(page.bitspersample),
        sample_format=int(page.sampleformat),
        samples=int(page.samplesperpixel),
        extra=tuple(int(kind) for kind in page.extrasamples),
        compression=int(page.compression),
        subsampling=tuple(page.subsampling or (2, 2)),
        palette=() if page.colormap is None else tuple(int(n) for n in page.colormap.flatten()),
    )


def _spacing_um(file: Any, page: Any) -> tuple[float, float] | None:
    """Micrometres per pixel: OME-XML, then Aperio's description, then the tags of resolution."""
    if file.is_ome and (found := _of_ome(file.ome_metadata)):
        return found
    aperio = re.search(r"MPP\s*=\s*([0-9.]+)", page.description or "")
    if aperio and float(aperio[1]) > 0:
        return float(aperio[1]), float(aperio[1])
    unit = {2: 25400.0, 3: 10000.0}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    if unit is None:
        return None
    spacing = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = page.tags.valueof(name, (0, 1))
        if not numerator or unit * denominator / numerator > _COARSEST_UM:
            return None
        spacing.append(unit * denominator / numerator)
    return spacing[0], spacing[1]


def _of_ome(text: str) -> tuple[float, float] | None:
    try:
        pixels = next(e for e in ET.fromstring(text).iter() if e.tag.endswith("}Pixels"))
        return (
            float(pixels.attrib["PhysicalSizeX"]) * um_per_unit(pixels.attrib.get("PhysicalSizeXUnit", "µm")),
            float(pixels.attrib["PhysicalSizeY"]) * um_per_unit(pixels.attrib.get("PhysicalSizeYUnit", "µm")),
        )
    except (ET.ParseError, StopIteration, KeyError, ValueError):
        return None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what tifffile and its codecs raise into a sentence."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "imagecodecs" in reason:
            require("imagecodecs", f"decoding {path}")
        raise ImageError(f"{path} is cut off or damaged ({reason.rstrip('.')}); get a new copy of it.") from error
