"""Transfer syntaxes: which are images, which lose information, and whether this installation can decode them."""

from __future__ import annotations

from monai_dis.dicom.extra import discreet, require

__all__ = ["KNOWN", "LOSSY", "NATIVE", "can_decode"]

#: Pixels that are not compressed (the deflated syntax is inflated as a whole).
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})

_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"

#: Everything that is read, given a decoder: RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K. Video is not.
KNOWN = NATIVE | {"1.2.840.10008.1.2.5"} | {
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)
}  # fmt: skip

#: Syntaxes that are always lossy; JPEG 2000 and HTJ2K without the word lossless may be either.
LOSSY = frozenset({"1.2.840.10008.1.2.4.50", _JPEG_EXTENDED, "1.2.840.10008.1.2.4.81"})


def can_decode(syntax: str, bits_stored: int) -> bool:
    """Whether a decoder for a transfer syntax is installed.

    Args:
        syntax: transfer syntax UID.
        bits_stored: of a sample; some decoders take 8 only.
    """
    if syntax in NATIVE:
        return True
    with discreet():
        plugins = _plugins(syntax)
    if syntax == _JPEG_EXTENDED and bits_stored > 8:
        plugins = [name for name in plugins if "pillow" not in name]
    return bool(plugins)


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
