"""OME-Zarr (NGFF 0.4 and 0.5): the levels of its first multiscale image.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_dis.errors import ImageError
from monai_dis.slides.extra import require
from monai_dis.slides.pyramid import Pyramid

__all__ = ["ZarrPyramid"]

_UM_PER_UNIT = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}


class ZarrPyramid(Pyramid):
    """A multiscale image of one plane and one time.

    Args:
        path: the folder.

    Raises:
        ImageError: when it is no multiscale image, or has several planes or times.
    """

    def __init__(self, path: Path) -> None:
        zarr = require("zarr", f"reading {path}")
        self.path = path
        try:
            group = zarr.open_group(str(path), mode="r")
            attributes: Mapping[str, Any] = dict(group.attrs)
            image = attributes.get("ome", attributes)["multiscales"][0]
            self._arrays = [group[each["path"]] for each in image["datasets"]]
            axes = [axis["name"] for axis in image["axes"]]
        except Exception as error:
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise ImageError(
                f"{path} is no OME-Zarr image that can be read ({reason}); get a new copy of it."
            ) from error
        shape = dict(zip(axes, self._arrays[0].shape, strict=True))
        if not {"x", "y"} <= set(axes) or any(n > 1 for axis, n in shape.items() if axis not in "cxy"):
            raise ImageError(f"{path} has axes {shape}; save the plane to segment as an image of its own.")
        self._axes = axes
        self.channels = int(shape.get("c", 1))
        self.dtype = np.dtype(self._arrays[0].dtype)
        x, y = axes.index("x"), axes.index("y")
        self.sizes = tuple((int(a.shape[x]), int(a.shape[y])) for a in self._arrays)
        self.file_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        self.spacing_um = _spacing_um(image, x, y)

    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """See `Pyramid.read`."""
        where = {
            "x": slice(corner[0], corner[0] + size[0]),
            "y": slice(corner[1], corner[1] + size[1]),
            "c": slice(None),
        }
        try:
            part = np.asarray(self._arrays[level][tuple(where.get(axis, 0) for axis in self._axes)])
        except Exception as error:
            raise ImageError(f"{self.path} is damaged ({type(error).__name__}); get a new copy of it.") from error
        kept = [axis for axis in self._axes if axis in "cxy"]
        if "c" not in kept:
            part, kept = part[None], ["c", *kept]
        ordered: NDArray[np.generic] = part.transpose([kept.index(axis) for axis in "cxy"])
        return ordered


def _spacing_um(image: Mapping[str, Any], x: int, y: int) -> tuple[float, float] | None:
    try:
        scale = next(t["scale"] for t in image["datasets"][0]["coordinateTransformations"] if t["type"] == "scale")
        units = [_UM_PER_UNIT[image["axes"][axis]["unit"]] for axis in (x, y)]
    except (KeyError, StopIteration):
        return None
    return float(scale[x]) * units[0], float(scale[y]) * units[1]
