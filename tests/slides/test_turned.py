"""Files that are to be shown turned, and colours of 16 bits: the same pixels whole and by pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_dis.data import read_image
from monai_dis.slides.opening import open_slide


def colours(kind: type = np.uint8) -> np.ndarray:
    """(rows, columns, 3) of values that differ along each axis."""
    y, x, c = np.mgrid[:70, :95, :3]
    return (x * 2 + y + c * 11).astype(np.uint8).astype(kind) * (257 if kind is np.uint16 else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_file_is_the_same_whole_and_by_pieces(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, colours(), photometric="rgb", tile=(16, 32), extratags=[(274, "H", 1, orientation, True)],
        resolution=(20000, 40000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    whole, slide = read_image(path).numpy(), open_slide(path)
    assert slide.sizes[0] == whole.shape[1:] == ((95, 70) if orientation < 5 else (70, 95))
    assert slide.spacing_um == ((0.5, 0.25) if orientation < 5 else (0.25, 0.5))
    assert np.array_equal(slide.read(0, (0, 0), slide.size), whole)
    for corner, size in (((3, 50), (40, 15)), ((60, 0), (10, 70)), ((17, 33), (1, 1))):
        part = whole[:, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
        assert np.array_equal(slide.read(0, corner, part.shape[1:]), part)
    assert slide.bytes_read


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_are_0_to_255_whatever_their_depth(planar: bool, kind: type, tmp_path: Path) -> None:
    pixels, path = colours(kind), tmp_path / "a.tif"
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig="separate" if planar else "contig")
    expected = colours().transpose(2, 1, 0)
    assert np.array_equal(read_image(path).numpy(), expected)
    slide = open_slide(path)
    assert np.array_equal(slide.read(0, (0, 0), slide.size), expected) and slide.dtype == np.uint8


def test_numbers_of_one_channel_stay(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", np.arange(700, dtype=np.uint16).reshape(20, 35) * 90
    tifffile.imwrite(path, values, photometric="minisblack")
    slide = open_slide(path)
    assert np.array_equal(read_image(path).numpy()[0], values.T)
    assert np.array_equal(slide.read(0, (0, 0), slide.size)[0], values.T)
