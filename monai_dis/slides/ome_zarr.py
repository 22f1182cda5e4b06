"""OME-Zarr (NGFF 0.1 to 0.5, and the layout of bioformats2raw): the levels of a multiscale image.

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
from monai_dis.slides.units import um_per_unit

__all__ = ["ZarrPyramid", "is_zarr"]

_AXES = "tczyx"  # of versions that do not name them
_MARKS = (".zattrs", ".zgroup", "zarr.json")


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group, by its name or what lies in it."""
    return folder.name.lower().endswith(".zarr") or any((folder / mark).is_file() for mark in _MARKS)


class ZarrPyramid(Pyramid):
    """A multiscale image of one plane and one time.

    Args:
        path: the folder.

    Raises:
        ImageError: when it is no multiscale image, holds several, or has several planes or times.
    """

    def __init__(self, path: Path) -> None:
        zarr = require("zarr", f"reading {path}")
        self.path = path
        try:
            group, image = _multiscale(zarr.open_group(str(path), mode="r"), path)
            datasets = [(each, group[each["path"]]) for each in image["datasets"]]
            axes = _axes(image, datasets[0][1].ndim)
        except ImageError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise ImageError(
                f"{path} is no OME-Zarr image that can be read ({reason}); get a new copy of it."
            ) from error
        if not {"x", "y"} <= set(axes):
            raise ImageError(f"{path} has axes {', '.join(axes)}; save the plane to segment as an image of its own.")
        x, y = axes.index("x"), axes.index("y")
        # writers are to list levels by size, and do not always
        datasets.sort(key=lambda each: -each[1].shape[x] * each[1].shape[y])
        self._arrays = [array for _, array in datasets]
        shape = dict(zip(axes, self._arrays[0].shape, strict=True))
        if any(n > 1 for axis, n in shape.items() if axis not in "cxy"):
            raise ImageError(f"{path} has axes {shape}; save the plane to segment as an image of its own.")
        self._axes = axes
        self.channels = int(shape.get("c", 1))
        self.dtype = np.dtype(self._arrays[0].dtype)
        self.sizes = tuple((int(a.shape[x]), int(a.shape[y])) for a in self._arrays)
        self.file_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        self.spacing_um = _spacing_um(image, datasets[0][0], x, y)

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


def _multiscale(group: Any, path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The group and metadata of the one multiscale image; bioformats2raw puts each image into a numbered group.

    Raises:
        ImageError: when there are several.
    """
    attributes: Mapping[str, Any] = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    if "multiscales" in attributes:
        return group, attributes["multiscales"][0]
    images = sorted((name for name, _ in group.groups() if name.isdigit()), key=int)
    if len(images) > 1:
        places = ", ".join(str(path / name) for name in images)
        raise ImageError(f"{path} holds {len(images)} images; give one of them: {places}.")
    if not images:
        raise ImageError(f"{path} holds no multiscale image of OME-Zarr; give the folder of one.")
    return _multiscale(group[images[0]], path)


def _axes(image: Mapping[str, Any], dims: int) -> list[str]:
    """Names of the axes: since version 0.4 they are objects, in 0.3 names, before that nothing says them."""
    stated = image.get("axes")
    if stated is None:
        return list(_AXES[-dims:])
    return [axis if isinstance(axis, str) else axis["name"] for axis in stated]


def _spacing_um(image: Mapping[str, Any], finest: Mapping[str, Any], x: int, y: int) -> tuple[float, float] | None:
    """From the scales of the level and, since they are applied one after the other, of the image."""
    spacing = [1.0, 1.0]
    scales = [
        each["scale"]
        for transformations in (finest.get("coordinateTransformations"), image.get("coordinateTransformations"))
        for each in transformations or ()
        if each.get("type") == "scale" and "scale" in each
    ]
    try:
        units = [um_per_unit(image["axes"][axis]["unit"]) for axis in (x, y)]
        for scale in scales:
            spacing = [spacing[0] * float(scale[x]), spacing[1] * float(scale[y])]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return (spacing[0] * units[0], spacing[1] * units[1]) if scales else None
