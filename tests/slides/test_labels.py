"""The label image is a pyramid that other readers read: every pixel, every level, the size of the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import torch

from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.slides.composing import compose_labels, seen_labels
from monai_dis.slides.labels import LABEL_TILE, LabelTiles
from monai_dis.slides.tissue import Tissue

SIZE = (2700, 1500)


def truth() -> np.ndarray:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return ((x // 37 + y // 53) % 7 * (x > 1100)).astype(np.uint8)


def filled(folder: Path) -> LabelTiles:
    tiles, values, n = LabelTiles(folder, SIZE), truth(), LABEL_TILE
    for row in range(tiles.counts()[1]):
        for column in range(tiles.counts()[0]):
            tiles.write(column, row, values[row * n : (row + 1) * n, column * n : (column + 1) * n])
    tiles.finish()
    return tiles


def test_tifffile_and_openslide_read_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    filled(tmp_path / "tiles").save(path, (0.5, 0.25))
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and [level.shape for level in file.series[0].levels] == [
            (1500, 2700),
            (750, 1350),
            (375, 675),
        ]
        for step, level in zip((1, 2, 4), file.series[0].levels, strict=True):
            assert np.array_equal(level.asarray(), truth()[::step, ::step])
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata and 'PhysicalSizeY="0.25"' in file.ome_metadata
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.dimensions == SIZE  # OpenSlide does not look for the levels of an OME-TIFF
        assert np.array_equal(
            np.asarray(slide.read_region((1000, 900), 0, (300, 200)))[..., 0], truth()[900:1100, 1000:1300]
        )
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.25)


def test_a_tile_of_background_takes_no_space(tmp_path: Path) -> None:
    tiles = filled(tmp_path / "tiles")
    assert (
        tiles.is_empty(0, 0, 0) and not tiles.is_empty(0, 1, 0) and tiles.is_empty(0, -1, 0) and tiles.is_empty(0, 3, 0)
    )
    assert (tmp_path / "tiles" / "0_0_0.z").stat().st_size == 0


@pytest.mark.parametrize(("activation", "channels"), [("softmax", 3), ("sigmoid", 2), ("sigmoid", 1)])
def test_labels_of_a_mosaic_tile_by_tile(activation: str, channels: int, tmp_path: Path) -> None:
    mosaic = Mosaic(torch.randn(1, channels, 27, 15), SIZE, activation, [Layer(SIZE, (300, 300))])
    mosaic.add_windows(1, [0], [(900, 800)], torch.randn(1, channels, 300, 300))
    labels = LabelTiles(tmp_path / "labels", SIZE)
    masks = [
        LabelTiles(tmp_path / f"mask{k}", SIZE)
        for k in range(channels if activation == "sigmoid" and channels > 1 else 0)
    ]
    mask = np.ones((27, 15), dtype=bool)
    mask[:3] = False
    compose_labels(mosaic, Tissue(mask), labels, masks)
    whole = mosaic.labels()[0].numpy().transpose(0, 2, 1)
    assert np.array_equal(labels.whole(0), seen_labels(whole) if masks else whole[0])
    for k, tiles in enumerate(masks):
        assert np.array_equal(tiles.whole(0), whole[k])


def test_where_classes_overlap_the_lower_index_is_seen() -> None:
    assert seen_labels(np.array([[[0, 1, 1, 0]], [[0, 0, 1, 1]]], dtype=np.uint8)).tolist() == [[0, 1, 1, 2]]
