"""Outlines as GeoJSON, one object a feature, in pixels of the slide: QuPath opens it beside the slide.

Every feature has ``objectType`` and ``classification`` with name and colour, as QuPath 0.4 and later writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_dis.data.atomic import atomic_path
from monai_dis.reports.palette import class_color
from monai_dis.slides.labels import LabelTiles
from monai_dis.slides.outlines import Polygon, corners_of, polygons

__all__ = ["MOST_CORNERS", "write_outlines"]

#: Outlines of more corners than this, of one class, are taken from the next smaller level of the label image, for the sake of memory.
MOST_CORNERS = 1_000_000

Inside = Callable[[NDArray[np.generic]], NDArray[np.bool_]]


def write_outlines(
    path: Path, layers: Sequence[tuple[int, LabelTiles, Inside]], names: Mapping[int, str], most: int = MOST_CORNERS
) -> dict[str, Any]:
    """Write the outlines of all objects of all classes.

    Args:
        path: the file.
        layers: class index, label image that holds it, and which of its labels are that class.
        names: of the classes.
        most: see `MOST_CORNERS`.

    Returns:
        the number of objects by the name of the class, and of what scale outlines are where that is not 1.
    """
    objects: dict[str, int] = {}
    scales: dict[str, float] = {}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        comma = "\n"
        for index, tiles, is_inside in layers:
            name = names.get(index, f"class {index}")
            level, corners = _affordable(tiles, is_inside, most)
            scale = [full / n for full, n in zip(tiles.sizes[0], tiles.sizes[level], strict=True)]
            objects[name] = 0
            if level:
                scales[name] = max(scale)
            for polygon in polygons(corners):
                file.write(comma + json.dumps(_feature(polygon, scale, name, index)))
                comma, objects[name] = ",\n", objects[name] + 1
        file.write("\n]}\n")
    return {"object_counts": objects, **({"outline_scales": scales} if scales else {})}


def _affordable(tiles: LabelTiles, is_inside: Inside, most: int) -> tuple[int, NDArray[np.int32]]:
    for level in range(len(tiles.sizes)):
        corners = corners_of(tiles, is_inside, level, most)
        if corners is not None:
            return level, corners
    last = len(tiles.sizes) - 1
    corners = corners_of(tiles, is_inside, last)
    assert corners is not None
    return last, corners


def _feature(polygon: Polygon, scale: Sequence[float], name: str, index: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [_closed(r, scale) for r in (polygon.outer, *polygon.holes)]},
        "properties": {
            "objectType": "detection",
            "classification": {"name": name, "color": list(class_color(index))},
        },
    }


def _closed(ring: Sequence[tuple[int, int]], scale: Sequence[float]) -> list[list[float]]:
    plain = list(scale) == [1.0, 1.0]
    return [[x, y] if plain else [x * scale[0], y * scale[1]] for x, y in (*ring, ring[0])]
