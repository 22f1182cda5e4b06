"""Flat pictures through MONAI's ``PILReader``, without what Pillow lets pass: more pages, palettes, transparency."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from monai.data import PILReader
from PIL import Image, ImageOps

from monai_dis.data.tiff_pixels import WHITE_IS_ZERO, read_tiff_pixels
from monai_dis.errors import ImageError

__all__ = ["PictureReader", "as_pixels", "open_picture", "without_alpha"]

_PLANAR, _BITS, _ORIENTATION = 284, 258, 274  # tags of TIFF, the last of EXIF too
_BYTE_BITS = 8
_WITHOUT_ALPHA = {"LA": "L", "La": "L", "PA": "P", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB"}
# The modes whose numbers are intensities as they stand; the others (CMYK, YCbCr, LAB, HSV) become RGB.
_INTENSITIES = ("L", "RGB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class PictureReader(PILReader):
    """MONAI's ``PILReader`` for one picture per file, decoded whole when it is read.

    Arrays have MONAI's order of axes, columns before rows, turned as every viewer shows the picture (the orientation of
    EXIF or TIFF is applied). Gzipped files are read too.

    Args:
        converter: what is done with the opened picture, by default :func:`as_pixels`.
    """

    def __init__(self, converter: Callable[[Image.Image], Image.Image] | None = None) -> None:
        super().__init__(converter=converter or as_pixels)

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Open pictures as MONAI's loader asks for them.

        Args:
            data: a path or a sequence of paths.
            kwargs: as in ``PILReader``; not used.

        Raises:
            ImageError: when a file holds several pictures.
            OSError: when a file cannot be decoded whole.
        """
        paths: Sequence[Any] = data if isinstance(data, (list, tuple)) else (data,)
        pictures = []
        for path in paths:
            picture = open_picture(path)
            converted = self.converter(picture) if self.converter else picture
            converted.format = picture.format  # goes into the metadata, where None would not collate
            pictures.append(converted)
        return pictures if len(pictures) > 1 else pictures[0]


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture and decode all of it; Pillow alone would decode later, and find a truncated file only then.

    Raises:
        ImageError: when the file holds several pictures (an animation, a multi-page TIFF).
        OSError: when the file cannot be decoded whole.
    """
    with gzip.open(path) if str(path).lower().endswith(".gz") else Path(path).open("rb") as file:
        numbers = read_tiff_pixels(cast(IO[bytes], file))
        if numbers is not None:
            numbers.check(path)
        picture: Image.Image = Image.open(cast(IO[bytes], file))
        kind = picture.format
        pages = getattr(picture, "n_frames", 1)
        # A photograph in MPO format carries previews after the picture itself.
        if pages > 1 and picture.format != "MPO":
            raise ImageError(
                f"{path} holds {pages} pictures (animation or pages); save the one to segment as a file of its own."
            )
        if kind == "TIFF" and _is_deep_and_planar(picture):
            picture = _by_planes(Path(path))
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        if numbers is not None and numbers.photometric == WHITE_IS_ZERO and turned.mode.startswith("I;16"):
            # Pillow inverts those of up to 8 bits
            turned = Image.fromarray(np.uint16(2**numbers.bits - 1) - np.asarray(turned, dtype=np.uint16))
        turned.format = kind
        return turned


def _is_deep_and_planar(picture: Image.Image) -> bool:
    """Whether a TIFF has more than 8 bits in planes of their own, which Pillow mixes up."""
    tags: Any = getattr(picture, "tag_v2", {})
    return bool(tags.get(_PLANAR, 1) == 2 and max(tags.get(_BITS, (8,))) > _BYTE_BITS)


def _by_planes(path: Path) -> Image.Image:
    """Colours of a planar TIFF of 16 bits, in 8 bits as Pillow gives those that are not planar.

    Raises:
        ImageError: when tifffile is not installed, or the planes are no colours.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            f'reading the planes of {path} needs tifffile; install it with `pip install "monai-dis[slides]"`.'
        ) from error
    values = np.asarray(tifffile.imread(path, key=0))
    if values.ndim != 3 or values.shape[0] not in (3, 4) or values.dtype != np.uint16:
        raise ImageError(
            f"{path} has planes of {values.dtype} {values.shape}, which are no colours; save it as 8-bit RGB."
        )
    picture = Image.fromarray(np.moveaxis(values[:3] >> 8, 0, -1).astype(np.uint8))
    with Image.open(path) as stored:
        orientation = stored.getexif().get(_ORIENTATION)
    if orientation:
        picture.getexif()[_ORIENTATION] = orientation
    return picture


def without_alpha(picture: Image.Image) -> Image.Image:
    """Drop an alpha channel; colours under it stay as they are."""
    mode = _WITHOUT_ALPHA.get(picture.mode)
    if mode is None:
        return picture
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    return picture.convert(mode)


def as_pixels(picture: Image.Image) -> Image.Image:
    """Make intensities of a picture: one channel or three, palettes looked up, alpha dropped, 16 bits kept."""
    if picture.mode in ("P", "PA"):
        coloured = picture.convert("RGB")
        red, green, blue = coloured.split()
        return red if red.tobytes() == green.tobytes() == blue.tobytes() else coloured
    picture = without_alpha(picture)
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in _INTENSITIES else picture.convert("RGB")
