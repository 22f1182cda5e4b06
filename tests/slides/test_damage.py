"""Tiles that are lost or cut are refused with their number and place, or shown as empty ground where a site allows it; never as black."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from command_line import call
from slide_files import slide_bundle, spots, write_tiff

from monai_dis.checks.findings import Policy
from monai_dis.errors import ImageError
from monai_dis.slides.opening import open_slide
from monai_dis.slides.pyramid import Pyramid

__all__ = ["slide_bundle"]

Damage = Callable[[Path], None]


def cut_tile(share: float, level: int = 0, index: int = 1) -> Damage:
    """Make a tile's length a share of what it was."""

    def damage(path: Path) -> None:
        with tifffile.TiffFile(path, mode="r+b") as file:
            tag = file.series[0].levels[level].keyframe.tags["TileByteCounts"]
            counts = list(tag.value)
            counts[index] = int(counts[index] * share)
            tag.overwrite(counts)

    return damage


def bad_bytes(path: Path) -> None:
    with tifffile.TiffFile(path) as file:
        page = file.series[0].levels[0].keyframe
        offset, count = page.dataoffsets[1], page.databytecounts[1]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)


def slide(path: Path, compression: str, levels: int = 1) -> Path:
    return write_tiff(path, spots(700, 500), levels, compression=compression)


def zarr_slide(path: Path, levels: int = 1) -> Path:
    values = spots(700, 500)
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    for level in range(levels):
        data = np.ascontiguousarray(values[:: 2**level, :: 2**level].transpose(2, 0, 1))
        separator = {"name": "v2", "separator": "/"}
        group.create_array(str(level), data=data, chunks=(3, 256, 256), chunk_key_encoding=separator)
    datasets = [{"path": str(level)} for level in range(levels)]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": [{"name": a} for a in "cyx"], "datasets": datasets}]
    return path


def lose_chunk(path: Path) -> None:
    (path / "0" / "0" / "0" / "1").unlink()


def spoil_chunk(path: Path) -> None:
    chunk = path / "0" / "0" / "0" / "1"
    chunk.write_bytes(chunk.read_bytes()[:100])


TIFFS = [
    pytest.param(compression, damage, id=f"{compression}-{name}")
    for compression in ("none", "zlib", "lzw", "packbits", "jpeg", "jpeg2000", "zstd", "webp", "png", "jpegxl")
    for name, damage in (("half", cut_tile(0.5)), ("nearly-whole", cut_tile(0.95)), ("empty", cut_tile(0)))
]


@pytest.mark.parametrize(("compression", "damage"), TIFFS)
def test_a_cut_tile_is_never_read_as_pixels(compression: str, damage: Damage, tmp_path: Path) -> None:
    path = slide(tmp_path / "a.tif", "" if compression == "none" else compression)
    damage(path)
    with pytest.raises(ImageError, match=r"damaged|missing"):
        open_slide(path).read(0, (0, 0), (700, 500))


def at_255(pyramid: Pyramid) -> None:
    """The tile at column 256 is ground, and all others are what they were."""
    truth = spots(700, 500).transpose(2, 1, 0)
    truth[:, 256:512, :256] = 255
    assert np.array_equal(pyramid.read(0, (0, 0), (700, 500)), truth)
    assert np.array_equal(pyramid.read(0, (300, 200), (100, 100)), truth[:, 300:400, 200:300])


KINDS = [
    pytest.param(lambda f: slide(f / "a.tif", "zlib"), cut_tile(0), True, id="length-0"),
    pytest.param(lambda f: slide(f / "a.tif", "zlib"), cut_tile(0.5), False, id="half-cut"),
    pytest.param(lambda f: slide(f / "a.tif", "zlib"), bad_bytes, False, id="zeros"),
    pytest.param(lambda f: zarr_slide(f / "a.zarr"), lose_chunk, True, id="lost-chunk"),
    pytest.param(lambda f: zarr_slide(f / "a.zarr"), spoil_chunk, False, id="half-chunk"),
]


@pytest.mark.parametrize(("make", "damage", "missing"), KINDS)
def test_flaws_are_counted_and_shown_as_ground(make: Any, damage: Damage, missing: bool, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert open_slide(path).find_flaws(decode=True) == []
    damage(path)
    pyramid = open_slide(path)
    (flaw,) = pyramid.lost(pyramid.find_flaws(decode=True))
    assert (flaw.level, flaw.corner, flaw.size, flaw.missing) == (0, (256, 0), (256, 256), missing)
    pyramid.mend([flaw])
    at_255(pyramid)


@pytest.mark.parametrize(
    "make", [lambda f: slide(f / "a.tif", "zlib", 2), lambda f: zarr_slide(f / "a.zarr", 2)], ids=["tiff", "zarr"]
)
def test_a_tile_that_was_left_out_is_ground(make: Any, tmp_path: Path) -> None:
    """The first tile of the picture's empty quarter: the next level shows nothing there either."""
    path = make(tmp_path)
    if path.is_dir():
        (path / "0" / "0" / "1" / "0").unlink()
        values = zarr.open_group(str(path), mode="r+")["1"]
        values[:, 128:, :128] = 240
    else:
        level = spots(700, 500)
        level[256:, :256] = 240
        path.unlink()
        write_tiff(path, level, 2)
        cut_tile(0, index=3)(path)
    pyramid = open_slide(path)
    assert len(pyramid.find_flaws()) == 1 and pyramid.lost(pyramid.find_flaws()) == []
    assert (pyramid.read(0, (0, 256), (256, 244)) == 255).all()


@pytest.mark.parametrize(("make", "damage", "missing"), KINDS)
def test_the_program_refuses_or_reports(
    make: Any, damage: Damage, missing: bool, slide_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    damage(path)
    command = ["segment", path, "--slide", "-b", slide_bundle, "-o", tmp_path / "out", "--device", "cpu"]
    assert call(*command) == 1
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a_seg.ome.tif").exists()
    assert call(*command, "--policy", "PIXELS_MISSING=warn") == 0
    (entry,) = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    (found,) = entry["findings"]
    assert (found["code"], found["policy"], found["instances"]) == ("PIXELS_MISSING", Policy.WARN.value, 1)
    assert "level 0 at 256, 0 (256 x 256)" in found["message"]
    labels = tifffile.imread(tmp_path / "out" / "a_seg.ome.tif")
    assert not labels[16:240, 272:496].any() and labels.any()  # ground; its border belongs to what lies beside it, too
