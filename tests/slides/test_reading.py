"""Files are read to the pixel, whatever they are made of, and say what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from slide_files import spots, write_tiff

from monai_dis.errors import ImageError
from monai_dis.slides.opening import is_slide, open_slide, slide_stem
from monai_dis.slides.scanner_files import ScannerPyramid

REGIONS = [((0, 0), (700, 500)), ((255, 255), (2, 3)), ((300, 10), (400, 490)), ((699, 499), (1, 1))]


def pixels(dtype: Any = np.uint8, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (500, 700, channels), dtype=dtype)
    return values if channels > 1 else values[..., 0]


@pytest.mark.parametrize(
    ("values", "options"),
    [
        pytest.param(pixels(), {}, id="colour"),
        pytest.param(pixels(), {"planarconfig": "separate"}, id="planes-of-colour"),
        pytest.param(pixels(), {"tile": None, "rowsperstrip": 7}, id="strips"),
        pytest.param(pixels(np.uint16, 1), {"photometric": "minisblack"}, id="grey-16-bits"),
        pytest.param(pixels(channels=4), {"extrasamples": ["unassalpha"]}, id="transparency"),
        pytest.param(pixels(), {"compression": "jpeg2000", "compressionargs": {"reversible": True}}, id="jpeg2000"),
    ],
)
def test_tiff_is_read_to_the_pixel(values: np.ndarray, options: dict[str, Any], tmp_path: Path) -> None:
    written = np.moveaxis(values, 2, 0) if options.get("planarconfig") else values
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, written, **{"tile": (256, 256), "compression": "zlib", "photometric": "rgb", **options})
    pyramid = open_slide(path)
    truth = (values[..., :3] if values.ndim == 3 else values[..., None]).transpose(2, 1, 0)
    assert pyramid.size == (700, 500)
    for (x, y), (w, h) in REGIONS:
        assert np.array_equal(pyramid.read(0, (x, y), (w, h)), truth[:, x : x + w, y : y + h])


def test_levels_and_bytes_of_a_pyramid(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels(), levels=3)
    pyramid = open_slide(path)
    assert pyramid.sizes == ((700, 500), (350, 250), (175, 125))
    assert pyramid.level_of((350, 250)) == 1 and pyramid.level_of((351, 250)) == 0 and pyramid.level_of((1, 1)) == 2
    with tifffile.TiffFile(path) as file:
        tiles = file.series[0].levels[0].keyframe.databytecounts
        truth = file.series[0].levels[1].asarray()
    assert np.array_equal(pyramid.read(1, (3, 4), (100, 50)), truth[4:54, 3:103].transpose(2, 1, 0))
    before = pyramid.bytes_read
    pyramid.read(0, (0, 0), (10, 10))
    pyramid.read(0, (5, 5), (10, 10))
    assert pyramid.bytes_read == before + tiles[0], "the second is read from memory"


@pytest.mark.parametrize(
    ("name", "options", "um"),
    [
        pytest.param("a.ome.tif", {"metadata": {"axes": "YXS", "PhysicalSizeX": 500.0, "PhysicalSizeXUnit": "nm",
                                                "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}}, (0.5, 0.25), id="ome"),
        pytest.param("a.tif", {"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}, (0.5, 0.25), id="tags"),
        pytest.param("a.tif", {"resolution": (72, 72), "resolutionunit": "INCH"}, None, id="a-printer's"),
        pytest.param("a.svs", {"description": "Aperio Image Library v1|MPP = 0.2528|AppMag = 40", "metadata": None},
                     (0.2528, 0.2528), id="aperio"),
    ],
)  # fmt: skip
def test_size_of_pixels(name: str, options: dict[str, Any], um: Any, tmp_path: Path) -> None:
    assert open_slide(write_tiff(tmp_path / name, pixels(), **options)).spacing_um == um


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(version: int, tmp_path: Path) -> None:
    values = pixels()
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
    for level, step in enumerate((1, 2)):
        data = np.ascontiguousarray(values[::step, ::step].transpose(2, 0, 1))
        group.create_array(str(level), data=data, chunks=(1, 128, 128))
    scales = [[{"type": "scale", "scale": [1, 0.5 * s, 0.25 * s]}] for s in (1, 2)]
    image = {
        "axes": [{"name": "c"}, *({"name": a, "unit": "micrometer"} for a in "yx")],
        "datasets": [{"path": str(k), "coordinateTransformations": scale} for k, scale in enumerate(scales)],
    }
    group.attrs.update(
        {"multiscales": [image]} if version == 2 else {"ome": {"version": "0.5", "multiscales": [image]}}
    )
    pyramid = open_slide(tmp_path / "a.zarr")
    assert pyramid.sizes == ((700, 500), (350, 250)) and pyramid.spacing_um == (0.25, 0.5)
    assert np.array_equal(pyramid.read(1, (20, 10), (30, 40)), values[::2, ::2][10:50, 20:50].transpose(2, 1, 0))


def chain_of_levels(path: Path, values: np.ndarray) -> Path:
    """Levels one after the other, as scanners and libvips write them, and not below the first as OME-TIFF has them."""
    with tifffile.TiffWriter(path) as file:
        for level in (values, values[::2, ::2], values[::4, ::4]):
            reduced = {"subfiletype": 1} if level is not values else {}
            file.write(level, tile=(128, 128), compression="zlib", photometric="rgb", metadata=None, **reduced)
    return path


@pytest.mark.parametrize("reader", [ScannerPyramid, open_slide], ids=["openslide", "tifffile"])
def test_levels_one_after_the_other(reader: Any, tmp_path: Path) -> None:
    values = pixels()
    pyramid = reader(chain_of_levels(tmp_path / "a.tif", values))
    assert pyramid.sizes == ((700, 500), (350, 250), (175, 125))
    for level, step in enumerate((1, 2, 4)):
        truth = values[::step, ::step][10:90, 40:130].transpose(2, 1, 0)
        assert np.array_equal(pyramid.read(level, (40, 10), (90, 80)), truth)


def test_which_inputs_are_slides(tmp_path: Path) -> None:
    large = tmp_path / "large.tif"
    tifffile.imwrite(large, shape=(8193, 8192), dtype=np.uint8, tile=(256, 256), photometric="minisblack")
    strips = tmp_path / "strips.tif"
    tifffile.imwrite(strips, shape=(8193, 8192), dtype=np.uint8, photometric="minisblack")
    small = write_tiff(tmp_path / "small.tif", spots(300, 300), levels=2)
    named = [tmp_path / name for name in ("a.svs", "a.NDPI", "a.ome.zarr", "photo.png")]
    assert [is_slide(p) for p in (large, strips, small, *named)] == [True, False, False, True, True, True, False]
    assert [slide_stem(p) for p in named] == ["a", "a", "a", "photo"]


def stack(path: Path) -> None:
    planes = np.zeros((4, 64, 64), np.uint8)
    tifffile.imwrite(path, planes, tile=(16, 16), photometric="minisblack", metadata={"axes": "ZYX"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:3000]), "cut off or damaged"),
        (lambda p: p.write_bytes(b"II*\0 no slide at all"), "damaged"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.unlink(), "no file"),
        (stack, "axes"),
        (lambda p: tifffile.imwrite(p, np.zeros((9000, 9000), np.uint8), rowsperstrip=9000), "not cut into tiles"),
    ],
    ids=["cut", "no-tiff", "empty", "missing", "stack", "one-strip"],
)  # fmt: skip
def test_bad_files_have_a_sentence(damage: Any, sentence: str, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", spots(600, 500))
    damage(path)
    with pytest.raises(ImageError, match=sentence) as error:
        open_slide(path).read(0, (0, 0), (600, 500))
    assert "a.tif" in str(error.value)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "a.svs", spots(600, 500))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError, match=r'tifffile; install it with `pip install "monai-dis\[slides\]"`'):
        open_slide(path)
