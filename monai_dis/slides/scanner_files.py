"""Files of slide scanners that are no plain TIFF, through MONAI's ``WSIReader`` with OpenSlide or cuCIM.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from monai.data import WSIReader
from numpy.typing import NDArray

from monai_dis.errors import ImageError
from monai_dis.slides.extra import require
from monai_dis.slides.pyramid import Pyramid

__all__ = ["ScannerPyramid"]


class ScannerPyramid(Pyramid):
    """A slide in colour, as OpenSlide reads it, or cuCIM where OpenSlide is not installed.

    Args:
        path: the file.

    Raises:
        ImageError: when neither is installed, or the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        backend = "cucim" if find_spec("openslide") is None and find_spec("cucim") else "openslide"
        require(backend, f"reading {path}")
        self.path, self.channels, self.dtype = path, 3, np.dtype(np.uint8)
        self.file_bytes = path.stat().st_size
        self._reader = WSIReader(backend=backend)
        try:
            self._slide = self._reader.read(str(path))
            count = self._reader.get_level_count(self._slide)
            heights = [self._reader.get_size(self._slide, level) for level in range(count)]
        except Exception as error:
            raise ImageError(
                f"{path} is cut off or damaged, or of a kind that {backend} does not read ({error})."
            ) from error
        self.sizes = tuple((int(width), int(height)) for height, width in heights)
        try:
            rows_um, columns_um = self._reader.get_mpp(self._slide, 0)
            self.spacing_um = (float(columns_um), float(rows_um))
        except (KeyError, TypeError, ValueError):
            self.spacing_um = None

    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """See `Pyramid.read`."""
        # OpenSlide counts places on the finest level, whatever level it reads.
        place = [round(c * full / n) for c, full, n in zip(corner, self.size, self.field_of(level), strict=True)]
        try:
            part, _ = self._reader.get_data(
                self._slide, location=(place[1], place[0]), size=(int(size[1]), int(size[0])), level=level
            )
        except Exception as error:
            raise ImageError(
                f"{self.path} is damaged ({type(error).__name__}: {error}); get a new copy of it."
            ) from error
        return np.ascontiguousarray(part[:3].transpose(0, 2, 1))
