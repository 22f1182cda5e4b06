"""The overview of a slide: the whole of it, 2,048 pixels at most, in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_dis.slides.grid_image import GridImage
from monai_dis.slides.pyramid import Pyramid, overview_size
from monai_dis.slides.regions import squares

__all__ = ["read_overview"]

_PIXELS_AT_ONCE = 2048  # of the file's level, the side of a square


def read_overview(pyramid: Pyramid) -> NDArray[np.generic]:
    """Read the overview, from a small level of the file where it has one, else by averaging larger ones square by square.

    Returns:
        (C, X, Y) of the file's type.
    """
    size = overview_size(pyramid)
    image = GridImage(pyramid, size, lambda x: x)
    out = np.empty((pyramid.channels, *size), dtype=pyramid.dtype)
    shrink = max(n / s for n, s in zip(pyramid.sizes[image.level], size, strict=True))
    for x, y in squares(size, max(1, int(_PIXELS_AT_ONCE / shrink))):
        part = image.read((x, y))[0].numpy()
        out[:, x, y] = part if out.dtype.kind == "f" else np.rint(part).astype(out.dtype)
    return out
