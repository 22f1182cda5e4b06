"""Units of length as writers of OME-XML, NGFF and TIFF name them."""

from __future__ import annotations

__all__ = ["um_per_unit"]

_UM_PER_UNIT = {
    **dict.fromkeys(("micrometer", "micrometre", "um", "µm", "μm", "micron"), 1.0),
    **dict.fromkeys(("nanometer", "nanometre", "nm"), 1e-3),
    **dict.fromkeys(("angstrom", "å"), 1e-4),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), 1e3),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), 1e4),
    **dict.fromkeys(("meter", "metre", "m"), 1e6),
}


def um_per_unit(name: str) -> float:
    """Micrometres of a unit of length.

    Raises:
        KeyError: when it is not known, such as ``pixel``.

    Example:
        >>> um_per_unit("nanometer"), um_per_unit("µm")
        (0.001, 1.0)
    """
    return _UM_PER_UNIT[name.strip().lower()]
