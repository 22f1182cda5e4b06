"""Outlines are exact, valid, and do not know where tiles end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy.ndimage import label
from shapely.geometry import shape

import monai_dis.slides.labels as labels_module
import monai_dis.slides.outlines as outlines_module
from monai_dis.slides.geojson import write_outlines
from monai_dis.slides.labels import LabelTiles
from monai_dis.slides.outlines import corners_of, polygons


def tiles_of(values: np.ndarray, folder: Path) -> LabelTiles:
    tiles = LabelTiles(folder, (values.shape[1], values.shape[0]))
    n = labels_module.LABEL_TILE
    for row in range(tiles.counts()[1]):
        for column in range(tiles.counts()[0]):
            tiles.write(column, row, values[row * n : (row + 1) * n, column * n : (column + 1) * n])
    return tiles


@pytest.fixture(params=[4, 16])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for module in (labels_module, outlines_module):
        monkeypatch.setattr(module, "LABEL_TILE", request.param)
    return int(request.param)


def test_a_ring_a_dot_and_two_that_touch_by_hand(tile: int, tmp_path: Path) -> None:
    values = np.array(
        [
            [1, 1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0, 2],
            [1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 1],
        ],
        dtype=np.uint8,
    )
    corners = corners_of(tiles_of(values, tmp_path), lambda v: v == 1)
    assert corners is not None
    found = {(frozenset(p.outer), tuple(frozenset(h) for h in p.holes)) for p in polygons(corners)}
    square = {(0, 0), (3, 0), (3, 3), (0, 3)}
    assert found == {
        (frozenset(square), (frozenset({(1, 1), (2, 1), (2, 2), (1, 2)}),)),
        (frozenset({(4, 3), (5, 3), (5, 4), (4, 4)}), ()),
        (frozenset({(5, 4), (6, 4), (6, 5), (5, 5)}), ()),
    }


@pytest.mark.parametrize("seed", range(12))
def test_outlines_give_the_mask_back(seed: int, tile: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.random(rng.integers(1, 40, 2)) < rng.choice([0.3, 0.5, 0.7])).astype(np.uint8)
    corners = corners_of(tiles_of(values, tmp_path), lambda v: v == 1)
    assert corners is not None
    found = [shapely.Polygon(p.outer, p.holes) for p in polygons(corners)]
    assert all(each.is_valid for each in found)
    assert len(found) == label(values)[1], "pixels that touch at a corner alone belong to two objects"
    y, x = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    assert np.array_equal(shapely.contains_xy(shapely.union_all(found), x, y), values > 0) or not found
    assert sum(each.area for each in found) == values.sum()


def test_a_file_that_qupath_opens(tmp_path: Path) -> None:
    values = np.zeros((60, 90), dtype=np.uint8)
    values[10:30, 20:50], values[15:20, 25:30], values[40:50, 60:80] = 1, 0, 2
    tiles = tiles_of(values, tmp_path / "tiles")
    layers = [(k, tiles, lambda v, k=k: v == k) for k in (1, 2)]
    said = write_outlines(tmp_path / "a.geojson", layers, {1: "tumour"})
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection" and said == {"object_counts": {"tumour": 1, "class 2": 1}}
    first, second = content["features"]
    assert first["type"] == "Feature" and first["properties"]["objectType"] == "detection"
    assert first["properties"]["classification"] == {"name": "tumour", "color": [0, 230, 140]}
    assert all(ring[0] == ring[-1] for ring in first["geometry"]["coordinates"]), "GeoJSON closes its rings"
    assert shape(first["geometry"]).area == 20 * 30 - 25
    assert shape(second["geometry"]).bounds == (60, 40, 80, 50)


def test_too_many_corners_are_taken_from_a_smaller_level(tmp_path: Path) -> None:
    values = np.zeros((1500, 2100), dtype=np.uint8)
    values[100:900:2, 200:900:2] = 1  # dots, which the smaller level sees as one square
    tiles = tiles_of(values, tmp_path / "tiles")
    tiles.finish()
    said = write_outlines(tmp_path / "a.geojson", [(1, tiles, lambda v: v == 1)], {}, most=1000)
    assert said == {"object_counts": {"class 1": 1}, "outline_scales": {"class 1": 2.0}}
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert shape(feature["geometry"]).bounds == (200, 100, 900, 900)
