"""Transfer syntaxes: which are images, which lose information, and what decodes each in this installation.

Nothing under the GPL is needed: pydicom decodes RLE, baseline JPEG, JPEG 2000 and, with a plug-in, JPEG-LS; ITK brings GDCM for
JPEG lossless, 12-bit JPEG and whatever pydicom lacks; OpenJPEG decodes high-throughput JPEG 2000.
"""

from __future__ import annotations

from enum import Enum
from importlib.util import find_spec

from monai_dis.dicom.extra import discreet, require

__all__ = ["KNOWN", "LOSSY", "NATIVE", "Decoder", "can_decode", "decoder_of"]

#: Pixels that are not compressed (the deflated syntax is inflated as a whole).
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})

_RLE = "1.2.840.10008.1.2.5"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_HIGH_THROUGHPUT = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
_OF_GDCM = frozenset({_RLE, *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91))})

#: Everything that is read, given a decoder: RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K. Video is not.
KNOWN = NATIVE | _OF_GDCM | _HIGH_THROUGHPUT

#: Syntaxes that are always lossy; JPEG 2000 and HTJ2K without the word lossless may be either.
LOSSY = frozenset({"1.2.840.10008.1.2.4.50", _JPEG_EXTENDED, "1.2.840.10008.1.2.4.81"})


class Decoder(Enum):
    """What decodes pixels.

    Attributes:
        PYDICOM: pydicom and its plug-ins.
        GDCM: that of ITK.
        OPENJPEG: with high-throughput JPEG 2000.
    """

    PYDICOM = "pydicom"
    GDCM = "itk"
    OPENJPEG = "openjpeg"


def can_decode(syntax: str, bits_stored: int) -> bool:
    """Whether a decoder for a transfer syntax is installed; see `decoder_of`."""
    return decoder_of(syntax, bits_stored) is not None


def decoder_of(syntax: str, bits_stored: int) -> Decoder | None:
    """What decodes a transfer syntax; None when nothing that is installed does.

    Args:
        syntax: transfer syntax UID.
        bits_stored: of a sample; some decoders take 8 only.
    """
    if syntax in NATIVE:
        return Decoder.PYDICOM
    if syntax in _HIGH_THROUGHPUT:
        return Decoder.OPENJPEG if find_spec(Decoder.OPENJPEG.value) else None
    with discreet():
        plugins = _plugins(syntax)
    if syntax == _JPEG_EXTENDED and bits_stored > 8:
        plugins = [name for name in plugins if "pillow" not in name]
    if plugins:
        return Decoder.PYDICOM
    return Decoder.GDCM if syntax in _OF_GDCM and find_spec(Decoder.GDCM.value) else None


def _plugins(syntax: str) -> list[str]:
    """Names of the installed decoders, in either generation of pydicom."""
    uid = require("pydicom.uid").UID(syntax)
    if int(require("pydicom").__version__.split(".")[0]) >= 3:
        try:
            return [str(name) for name in require("pydicom.pixels").get_decoder(uid).available_plugins]
        except NotImplementedError:
            return []
    handlers = require("pydicom.config").pixel_data_handlers
    return [each.__name__ for each in handlers if each.is_available() and each.supports_transfer_syntax(uid)]
