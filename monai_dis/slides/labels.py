"""Label images of a slide while they are made: compressed tiles in files, a pyramid of them, and one OME-TIFF at the end.

Letters in shapes: ``X`` columns, ``Y`` rows; label tiles are (rows, columns), as files have them.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_dis.data.atomic import atomic_path
from monai_dis.slides.extra import require
from monai_dis.slides.pyramid import Size

__all__ = ["LABEL_TILE", "LabelTiles"]

LABEL_TILE = 1024
_LEVEL = 1  # of zlib; label tiles are mostly runs of one number, which it finds at once


class LabelTiles:
    """One label image in square tiles, written in any order; a tile of background takes no space.

    Args:
        folder: for these files alone; made when missing.
        size: columns and rows.
        dtype: of the class indices.
    """

    def __init__(self, folder: Path, size: Size, dtype: Any = np.uint8) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dtype = folder, np.dtype(dtype)
        self.sizes = [size]
        while max(self.sizes[-1]) > LABEL_TILE:
            self.sizes.append((-(-self.sizes[-1][0] // 2), -(-self.sizes[-1][1] // 2)))
        self._read = lru_cache(maxsize=16)(self._decoded)

    def counts(self, level: int = 0) -> Size:
        """Columns and rows of tiles."""
        return -(-self.sizes[level][0] // LABEL_TILE), -(-self.sizes[level][1] // LABEL_TILE)

    def has(self, column: int, row: int, level: int = 0) -> bool:
        """Whether a tile is written."""
        return self._path(level, column, row).exists()

    def write(self, column: int, row: int, labels: NDArray[np.generic], level: int = 0) -> None:
        """Write a tile (rows, columns); those at the far borders are smaller."""
        data = b""
        if labels.any():
            whole = np.zeros((LABEL_TILE, LABEL_TILE), dtype=self.dtype)
            whole[: labels.shape[0], : labels.shape[1]] = labels
            data = zlib.compress(whole.tobytes(), _LEVEL)
        with atomic_path(self._path(level, column, row)) as temporary:
            temporary.write_bytes(data)

    def tile(self, level: int, column: int, row: int) -> NDArray[np.generic]:
        """A tile, whole (background beyond the image), to be read only; one outside the image is background."""
        return self._read(level, column, row)

    def is_empty(self, level: int, column: int, row: int) -> bool:
        """Whether a tile has background alone, or lies outside the image."""
        across, down = self.counts(level)
        inside = 0 <= column < across and 0 <= row < down
        return not inside or self._path(level, column, row).stat().st_size == 0

    def finish(self) -> None:
        """Make the smaller levels: every second pixel of every second row, so that labels stay labels."""
        half = LABEL_TILE // 2
        for level in range(1, len(self.sizes)):
            across, down = self.counts(level)
            for row in range(down):
                for column in range(across):
                    if self.has(column, row, level):
                        continue
                    small = np.zeros((LABEL_TILE, LABEL_TILE), dtype=self.dtype)
                    for y in (0, 1):
                        for x in (0, 1):
                            place = (level - 1, 2 * column + x, 2 * row + y)
                            if not self.is_empty(*place):
                                part = self.tile(*place)[::2, ::2]
                                small[y * half : (y + 1) * half, x * half : (x + 1) * half] = part
                    self.write(column, row, small, level)

    def save(self, path: Path, spacing_um: tuple[float, float] | None) -> None:
        """Write all levels as one tiled, pyramidal OME-TIFF; its smaller levels are made before by `finish`.

        Args:
            path: ends in ``.ome.tif``.
            spacing_um: micrometres per pixel, columns and rows.

        Raises:
            OSError: when it cannot be written.
        """
        tifffile = require("tifffile", "writing a label image")
        # OME's identifier is random otherwise: the same labels are to be the same file.
        metadata: dict[str, Any] = {"axes": "YX", "UUID": str(self._identity(spacing_um))}
        options: dict[str, Any] = {
            "dtype": self.dtype, "tile": (LABEL_TILE, LABEL_TILE), "compression": "zlib", "photometric": "minisblack",
        }  # fmt: skip
        if spacing_um is not None:
            for axis, um in zip("XY", spacing_um, strict=True):
                metadata |= {f"PhysicalSize{axis}": um, f"PhysicalSize{axis}Unit": "µm"}
        with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as file:
            for level, (columns, rows) in enumerate(self.sizes):
                more: dict[str, Any] = {"subfiletype": 1, "metadata": None}
                if level == 0:
                    more = {"subifds": len(self.sizes) - 1, "metadata": metadata}
                if spacing_um is not None:
                    more |= {
                        "resolution": tuple(1e4 / (um * 2**level) for um in spacing_um),
                        "resolutionunit": "CENTIMETER",
                    }
                file.write(self._encoded(level), shape=(rows, columns), **options, **more)

    def whole(self, level: int) -> NDArray[np.generic]:
        """(rows, columns) of a small level."""
        columns, rows = self.sizes[level]
        out = np.zeros((rows, columns), dtype=self.dtype)
        across, down = self.counts(level)
        for row in range(down):
            for column in range(across):
                y, x = row * LABEL_TILE, column * LABEL_TILE
                out[y : y + LABEL_TILE, x : x + LABEL_TILE] = self.tile(level, column, row)[: rows - y, : columns - x]
        return out

    def _identity(self, spacing_um: tuple[float, float] | None) -> uuid.UUID:
        digest = hashlib.sha256(repr((self.sizes[0], self.dtype.str, spacing_um)).encode())
        for tile in self._encoded(0):
            digest.update(tile)
        return uuid.UUID(bytes=digest.digest()[:16], version=5)

    def _encoded(self, level: int) -> Iterator[bytes]:
        across, down = self.counts(level)
        for row in range(down):
            for column in range(across):
                yield self._path(level, column, row).read_bytes() or self._background

    @cached_property
    def _background(self) -> bytes:
        return zlib.compress(bytes(LABEL_TILE * LABEL_TILE * self.dtype.itemsize), _LEVEL)

    def _decoded(self, level: int, column: int, row: int) -> NDArray[np.generic]:
        if self.is_empty(level, column, row):
            return np.broadcast_to(self.dtype.type(0), (LABEL_TILE, LABEL_TILE))
        data = zlib.decompress(self._path(level, column, row).read_bytes())
        return np.frombuffer(data, dtype=self.dtype).reshape(LABEL_TILE, LABEL_TILE)

    def _path(self, level: int, column: int, row: int) -> Path:
        return self.folder / f"{level}_{column}_{row}.z"
