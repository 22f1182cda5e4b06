"""OME-Zarr (NGFF 0.1 to 0.5, and the layout of bioformats2raw): the levels of a multiscale image.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_dis.errors import ImageError
from monai_dis.slides.extra import require
from monai_dis.slides.flaws import Flaw, ground_of
from monai_dis.slides.pyramid import Pyramid
from monai_dis.slides.scenes import chosen_scene, planes_sentence
from monai_dis.slides.units import um_per_unit

__all__ = ["ZarrPyramid", "is_zarr", "zarr_scenes"]

_AXES = "tczyx"  # of versions that do not name them
_MARKS = (".zattrs", ".zgroup", "zarr.json")


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group, by its name or what lies in it."""
    return folder.name.lower().endswith(".zarr") or any((folder / mark).is_file() for mark in _MARKS)


class ZarrPyramid(Pyramid):
    """A multiscale image of one plane and one time.

    Args:
        path: the folder.
        scene: which of several images, from 1.

    Raises:
        ImageError: when it is no multiscale image, holds several, or has several planes or times.
    """

    def __init__(self, path: Path, scene: int | None = None) -> None:
        zarr = require("zarr", f"reading {path}")
        self.path = path
        try:
            group, image = _multiscale(zarr.open_group(str(path), mode="r"), path, scene)
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
            raise ImageError(planes_sentence(path, shape))
        self._axes = axes
        self.channels = int(shape.get("c", 1))
        self.dtype = np.dtype(self._arrays[0].dtype)
        self.sizes = tuple((int(a.shape[x]), int(a.shape[y])) for a in self._arrays)
        self.file_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        self.spacing_um = _spacing_um(image, datasets[0][0], x, y)

    def read(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """See `Pyramid.read`."""
        if self._ground:
            return self._by_chunks(level, corner, size)
        return self._whole(level, corner, size)

    def _whole(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
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

    def find_flaws(self, decode: bool = False) -> list[Flaw]:
        """See `Pyramid.find_flaws`. A chunk without a file is missing; of shards, those without one."""
        found: dict[tuple[int, int, int], bool] = {}
        for level, array in enumerate(self._arrays):
            stored = getattr(array, "shards", None) or array.chunks
            blosc = stored == array.chunks and "blosc" in repr(array.compressors[-1:]).lower()
            for place in product(*(range(-(-n // c)) for n, c in zip(array.shape, stored, strict=True))):
                key = (level, place[self._axes.index("x")], place[self._axes.index("y")])
                file = self.path / array.path / array.metadata.encode_chunk_key(place)
                problem = "" if file.is_file() else "missing"
                if not problem and blosc and not _is_whole_blosc(file):
                    problem = "damaged"
                if not problem and decode:
                    region = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, stored, strict=True))
                    try:
                        array[region]
                    except Exception:  # codecs raise what they like
                        problem = "damaged"
                if problem:
                    found[key] = found.get(key, True) and problem == "missing"
        return [self._flaw(key, missing) for key, missing in sorted(found.items())]

    def _flaw(self, key: tuple[int, int, int], missing: bool) -> Flaw:
        sides = self._sides(key[0])
        corner = key[1] * sides[0], key[2] * sides[1]
        width, height = (min(s, n - c) for s, n, c in zip(sides, self.sizes[key[0]], corner, strict=True))
        return Flaw(key[0], corner, (width, height), missing)

    def _by_chunks(self, level: int, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
        """A region chunk by chunk, without those that are shown as ground."""
        out = np.full((self.channels, *size), ground_of(self.channels, self.dtype), self.dtype)
        sides = self._sides(level)
        for place in product(*(range(c // s * s, c + n, s) for c, n, s in zip(corner, size, sides, strict=True))):
            if (level, place) not in self._ground:
                low = [max(p, c) for p, c in zip(place, corner, strict=True)]
                high = [min(p + s, c + n) for p, s, c, n in zip(place, sides, corner, size, strict=True)]
                x, y = (slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
                out[:, x, y] = self._whole(level, low, [b - a for a, b in zip(low, high, strict=True)])
        return out

    def _sides(self, level: int) -> tuple[int, int]:
        """Columns and rows of what is one file."""
        array = self._arrays[level]
        stored = getattr(array, "shards", None) or array.chunks
        return int(stored[self._axes.index("x")]), int(stored[self._axes.index("y")])


def zarr_scenes(path: Path) -> int:
    """How many images a folder holds."""
    return len(_images(require("zarr", f"reading {path}").open_group(str(path), mode="r"))) or 1


def _images(group: Any) -> list[str]:
    """The numbered groups of bioformats2raw, each an image; none where the group is an image itself."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    if "multiscales" in attributes.get("ome", attributes):
        return []
    return sorted((name for name, _ in group.groups() if name.isdigit()), key=int)


def _multiscale(group: Any, path: Path, scene: int | None) -> tuple[Any, Mapping[str, Any]]:
    """The group and metadata of the one multiscale image, or of the chosen one.

    Raises:
        ImageError: when there are several and none is chosen.
    """
    attributes: Mapping[str, Any] = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    if "multiscales" in attributes:
        return group, chosen_scene(path, attributes["multiscales"][:1], scene, lambda each: each.get("name") or "0")
    images = _images(group)
    if not images:
        raise ImageError(f"{path} holds no multiscale image of OME-Zarr; give the folder of one.")
    return _multiscale(group[chosen_scene(path, images, scene, lambda each: str(path / each))], path, None)


def _is_whole_blosc(chunk: Path) -> bool:
    """Whether a chunk has the length that its header says; Blosc decodes some that are cut, and leaves what is in memory for the rest."""
    with chunk.open("rb") as file:
        header = file.read(16)
    return len(header) == 16 and int.from_bytes(header[12:], "little") == chunk.stat().st_size


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
