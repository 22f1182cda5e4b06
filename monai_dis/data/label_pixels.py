"""Which of a picture's channels is the label: a palette's entries, one grey channel, or the alpha channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from monai_dis.data.label_values import LabelRule
from monai_dis.data.pictures import without_alpha
from monai_dis.errors import ImageError

__all__ = ["label_pixels"]

_WITH_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")


def label_pixels(picture: Image.Image, rule: LabelRule) -> Image.Image:
    """The channels of a picture that hold the label.

    An alpha channel that is the same everywhere says nothing. Where it varies over one colour, it is the mask. Where
    colours vary too, they count, and what is transparent must be background in them as well.

    Args:
        picture: as opened.
        rule: of the data set.

    Returns:
        a picture of one channel; of three where it is grey stored as colour, or coloured.

    Raises:
        ImageError: when alpha and colours say different things.
    """
    plain = without_alpha(picture)
    if picture.mode in _WITH_ALPHA:
        straight = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode]) if picture.mode[-1] == "a" else picture
        alpha = straight.getchannel("A")
        if not _uniform(alpha):
            if _uniform(plain):
                return alpha
            if bool(_pixels(plain)[_pixels(alpha) == 0].any()):
                raise ImageError(
                    "the label has a transparent part that is not black, so that it is unclear which of the two is meant; "
                    "save it without transparency."
                )
    if rule is LabelRule.MASK:
        return plain if len(plain.getbands()) == 1 else plain.getchannel(0)
    # Colours of a palette are looked up where black means background; elsewhere its entries are the classes.
    return plain.convert("L") if rule is LabelRule.NONZERO and plain.mode in ("1", "P", "RGB") else plain


def _uniform(picture: Image.Image) -> bool:
    values = _pixels(picture)
    return bool((values == values[0, 0]).all())


def _pixels(picture: Image.Image) -> Any:
    return np.asarray(picture)
