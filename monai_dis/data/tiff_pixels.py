"""What the numbers of a TIFF's pixels mean: one rule, for files that are read whole and piece by piece.

Intensities stay as they are, with "white is zero" inverted. Colours become RGB from 0 to 255: palettes are looked up, CMYK and YCbCr are
converted, of 16 bits the upper 8 are kept, transparency is dropped. ICC profiles are not applied: networks learned from numbers as cameras
and scanners store them. What Pillow and tifffile do not both read as colours is refused by what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from monai_dis.errors import ImageError

__all__ = ["WHITE_IS_ZERO", "TiffPixels", "read_tiff_pixels"]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_UNREAD = {
    4: "a transparency mask",
    8: "CIELAB colours",
    9: "ICC L*a*b* colours",
    10: "ITU L*a*b* colours",
    32803: "raw camera data (a colour filter array)",
    32844: "LogL luminance",
    32845: "LogLuv colours",
    34892: "raw camera data",
    51177: "depths",
}
_COLOURS = {RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_MODES = {RGB: "RGB", CMYK: "CMYK", YCBCR: "YCbCr"}
_JPEG = (6, 7, 33007, 34892)  # whose decoders give RGB for YCbCr
#: Aperio's JPEG 2000 of YCbCr, which its tags call RGB.
_APERIO_YCBCR = 33003
_UNSIGNED, _FLOAT = 1, 3
_PREMULTIPLIED = 1
_ALPHA = (1, 2)


@dataclass(frozen=True)
class TiffPixels:
    """The tags of a page that say what its numbers mean, by the names of TIFF 6.0.

    Attributes:
        photometric: PhotometricInterpretation.
        bits: BitsPerSample.
        sample_format: SampleFormat: 1 unsigned, 2 signed, 3 floating point, 5 and 6 complex.
        samples: SamplesPerPixel.
        extra: ExtraSamples, one for each that is no colour.
        compression: Compression.
        subsampling: YCbCrSubSampling.
        palette: ColorMap: 2^bits values of red, then green, then blue, of 16 bits each.
    """

    photometric: int
    bits: int
    sample_format: int = 1
    samples: int = 1
    extra: tuple[int, ...] = ()
    compression: int = 1
    subsampling: tuple[int, ...] = (2, 2)
    palette: tuple[int, ...] = ()

    def check(self, path: str | Path) -> None:
        """See that the numbers are of a kind that is read.

        Raises:
            ImageError: by what they are.
        """
        unread = _UNREAD.get(self.photometric)
        if unread is None and self.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, *_COLOURS):
            unread = f"values of an unknown kind (PhotometricInterpretation {self.photometric})"
        if unread is None and self.sample_format in (5, 6):
            unread = "complex numbers"
        if unread is None and self.photometric == PALETTE and self.bits > 8:
            unread = f"a palette of {self.bits} bits"
        if unread is None and self.photometric in (RGB, CMYK, YCBCR):
            if self.sample_format != _UNSIGNED or self.bits not in (8, 16):
                kind = {2: "signed ", _FLOAT: "floating-point "}.get(self.sample_format, "")
                unread = f"colours in {kind}numbers of {self.bits} bits"
            elif self.photometric == YCBCR and not self._decoded_as_rgb and self.subsampling != (1, 1):
                unread = "YCbCr colours at a lower resolution than brightness without JPEG"
        if unread is None and self.photometric == WHITE_IS_ZERO and self.sample_format != _UNSIGNED:
            unread = "values with white at zero that are no unsigned numbers"
        if unread is not None:
            raise ImageError(
                f"{path} is a TIFF of {unread}, which is not read; save it as 8-bit RGB or as grey values."
            )

    @property
    def _decoded_as_rgb(self) -> bool:
        return self.compression in _JPEG

    @property
    def colours(self) -> int:
        """Samples of a pixel that are colours or intensities; several of no stated kind are channels."""
        dropped = [kind for kind in self.extra if kind in _ALPHA or len(self.extra) == 1]
        return _COLOURS.get(self.photometric, self.samples - len(dropped))

    @property
    def are_colours(self) -> bool:
        """Whether pixels become RGB."""
        return self.photometric in _COLOURS and not (self.photometric == PALETTE and self._grey_palette)

    @property
    def channels(self) -> int:
        """Channels of what is read."""
        return 3 if self.are_colours else self.colours if self.photometric != PALETTE else 1

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of what is read; None for that of the stored numbers."""
        return np.dtype(np.uint8) if self.photometric in _COLOURS or self._stretch != 1 else None

    @property
    def _grey_palette(self) -> bool:
        table = self._table
        return bool((table == table[:, :1]).all())

    @property
    def _table(self) -> NDArray[np.uint8]:
        """(2^bits, 3)."""
        table: NDArray[np.uint8] = (np.asarray(self.palette, dtype=np.uint16).reshape(3, -1).T >> 8).astype(np.uint8)
        return table

    @property
    def _stretch(self) -> int:
        """By what intensities of 1, 2 or 4 bits are multiplied to be 0 to 255."""
        return 255 // (2**self.bits - 1) if self.bits in (1, 2, 4) and self.photometric != PALETTE else 1

    def converted(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Pixels as they are read.

        Args:
            stored: (samples, X, Y) as tifffile decodes them.

        Returns:
            (channels, X, Y).
        """
        if self.photometric == PALETTE:
            looked_up = self._table[stored[0].astype(np.intp)].transpose(2, 0, 1)
            return np.ascontiguousarray(looked_up if self.are_colours else looked_up[:1])
        if not self.are_colours:
            return self._intensities(stored[: self.colours])
        eights = (stored >> 8).astype(np.uint8) if self.bits == 16 else stored.astype(np.uint8)
        mode = self._mode
        if mode == "RGB" and self.extra[:1] != (_PREMULTIPLIED,):
            return eights[:3]
        if mode == "RGB":
            return _by_pillow(eights[:4], "RGBa", "RGBA", "RGB")
        return _by_pillow(eights[: self.colours], mode, "RGB")

    @property
    def _mode(self) -> str:
        if self.compression == _APERIO_YCBCR:
            return "YCbCr"
        return "RGB" if self._decoded_as_rgb and self.photometric == YCBCR else _MODES[self.photometric]

    def _intensities(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._stretch != 1:
            values = (values.astype(np.uint8) * self._stretch).astype(np.uint8)
        if self.photometric != WHITE_IS_ZERO:
            return values
        largest = 2**self.bits - 1 if self._stretch == 1 else 255
        inverted: NDArray[Any] = (largest - values.astype(np.int64)).astype(values.dtype)
        return inverted


def _by_pillow(values: NDArray[np.uint8], *modes: str) -> NDArray[np.uint8]:
    """Colours of one of Pillow's modes in the last of others, (C, X, Y)."""
    columns, rows = values.shape[1:]
    # the order of axes does not matter: pixels are converted one by one
    picture = Image.frombuffer(
        modes[0], (rows, columns), np.ascontiguousarray(values.transpose(1, 2, 0)).tobytes(), "raw", modes[0], 0, 1
    )
    for mode in modes[1:]:
        picture = picture.convert(mode)
    converted: NDArray[np.uint8] = np.asarray(picture).transpose(2, 0, 1)
    return converted


def read_tiff_pixels(file: IO[bytes]) -> TiffPixels | None:
    """The tags of the first page of a file; None where it is no TIFF or cannot be read.

    Args:
        file: at any place, to which it returns.
    """
    place = file.tell()
    try:
        file.seek(0)
        head = file.read(8)
        if head[:2] not in (b"II", b"MM") or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
            return None
        if b"+" in head[2:4]:
            head += file.read(8)
        tags = ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
    except Exception:  # whoever decodes it says what is wrong
        return None
    finally:
        file.seek(place)

    def several(number: int, default: Sequence[int]) -> tuple[int, ...]:
        value = tags.get(number, default)
        return tuple(int(n) for n in (value if isinstance(value, (tuple, list)) else (value,)))

    return TiffPixels(
        photometric=several(262, (BLACK_IS_ZERO,))[0],
        bits=several(258, (1,))[0],
        sample_format=several(339, (_UNSIGNED,))[0],
        samples=several(277, (1,))[0],
        extra=several(338, ()),
        compression=several(259, (1,))[0],
        subsampling=several(530, (2, 2)),
    )
