"""Which picture of a file is segmented, where its levels lie, and how large its pixels are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from monai_dis.errors import ImageError
from monai_dis.inferers.grid import _axis_taps, resample
from monai_dis.slides.grid_image import GridImage
from monai_dis.slides.opening import open_slide

zarr = pytest.importorskip("zarr")
TILED: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64)}


def picture(rows: int, columns: int) -> np.ndarray:
    """Smooth, without a period that a level could share."""
    y, x = np.mgrid[:rows, :columns]
    waves = [np.sin(x / 9 + y / 31) + np.cos(y / 7 - x / 50), np.sin(y / 5), np.cos(x / 6 + y / 8)]
    return np.stack([(wave * 50 + 120) for wave in waves], axis=-1).astype(np.uint8)


def half(values: np.ndarray) -> np.ndarray:
    """Means of squares of four; what fills none is dropped, as most writers do."""
    rows, columns = (n // 2 for n in values.shape[:2])
    squares = values[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1).astype(float)
    return squares.mean(axis=(1, 3)).round().astype(np.uint8)


@pytest.mark.parametrize("size", [(256, 256), (255, 253), (767, 765)])
def test_a_level_lies_where_its_pixels_came_from(size: tuple[int, int], tmp_path: Path) -> None:
    finest = picture(*size)
    levels = [finest, half(finest), half(half(finest))]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, level in enumerate(levels):
            file.write(level, subfiletype=int(number > 0), metadata=None, **TILED)
    slide = open_slide(tmp_path / "a.tif")
    assert len(slide.sizes) == 3
    grid = tuple(-(-n // 4) for n in slide.size)
    image = GridImage(slide, grid, lambda values: values)
    assert image.level > 0
    found = image.read([slice(0, n) for n in grid])
    truth = resample(torch.from_numpy(finest.transpose(2, 1, 0)[None]).float(), grid)
    # the last pixel of an odd side has no part in a level that was rounded down
    difference = (found - truth).abs()[..., :-1, :-1]
    assert difference.max() < 1.5
    region = (slice(3, 40), slice(11, 30))
    assert torch.equal(image.read(region), found[..., region[0], region[1]])


def test_taps_of_a_field_that_ends_beyond_the_grid_by_hand() -> None:
    # three pixels halved and rounded down: one voxel of a field of 1.5, then of five pixels two of 2.5
    index, weight = _axis_taps(1, 1, Fraction(3, 2))
    assert (index.clip(max=0) == 0).all()
    assert weight.sum() == pytest.approx(1)
    index, weight = _axis_taps(2, 1, Fraction(5, 2))
    assert index.tolist() == [[0, 1, 1]]
    assert weight.tolist() == [pytest.approx([0.4, 0.4, 0.2])]


def test_the_largest_picture_is_the_slide(tmp_path: Path) -> None:
    large = picture(256, 320)
    with tifffile.TiffWriter(tmp_path / "thumbnail.ome.tif", ome=True) as file:
        file.write(large[::8, ::8], metadata={"axes": "YXS", "Name": "thumbnail"}, **TILED)
        file.write(large, metadata={"axes": "YXS", "Name": "image"}, **TILED)
    with tifffile.TiffWriter(tmp_path / "smallest.tif") as file:
        for level in (large[::4, ::4], large[::2, ::2], large):
            file.write(level, metadata=None, **TILED)
    with tifffile.TiffWriter(tmp_path / "macro.ome.tif", ome=True) as file:
        file.write(picture(400, 400), metadata={"axes": "YXS", "Name": "macro image"}, **TILED)
        file.write(large, metadata={"axes": "YXS", "Name": "scan"}, **TILED)
    for name in ("thumbnail.ome.tif", "smallest.tif", "macro.ome.tif"):
        slide = open_slide(tmp_path / name)
        assert slide.size == (320, 256), name
        assert np.array_equal(slide.read(0, (0, 0), slide.size), large.transpose(2, 1, 0)), name


def test_several_scenes_are_listed(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "scenes.ome.tif", ome=True) as file:
        for name, rows in (("left kidney", 128), ("right kidney", 192)):
            file.write(picture(rows, 192), metadata={"axes": "YXS", "Name": name}, **TILED)
    with pytest.raises(ImageError, match=r"holds 2 scenes \(1: left kidney 192 x 128, 2: right kidney 192 x 192\)"):
        open_slide(tmp_path / "scenes.ome.tif")


def write_zarr(path: Path, version: str, levels: list[np.ndarray], **more: Any) -> None:
    """Levels (C, Y, X) as a writer of a version of NGFF leaves them."""
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    dims = 5 if version in ("0.1", "0.2") else 3
    for number, level in enumerate(levels):
        group.create_array(
            str(number), data=level.reshape((1,) * (dims - 3) + level.shape) if dims == 3 else level[None, :, None]
        )
    names = ["c", "y", "x"]
    axes: Any = None if dims == 5 else names if version == "0.3" else [
        {"name": n, "type": "channel"} if n == "c" else {"name": n, "type": "space", "unit": "micrometer"} for n in names
    ]  # fmt: skip
    datasets = [
        {
            "path": str(number),
            **(
                {"coordinateTransformations": [{"type": "scale", "scale": [1, 0.5 * 2**number, 0.25 * 2**number]}]}
                if version >= "0.4"
                else {}
            ),
        }
        for number in range(len(levels))
    ]
    image = {"version": version, "datasets": datasets, **({} if axes is None else {"axes": axes}), **more}
    group.attrs["ome" if version == "0.5" else "multiscales"] = (
        {"version": version, "multiscales": [image]} if version == "0.5" else [image]
    )


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5"])
@pytest.mark.parametrize("folder", ["a.ome.zarr", "scan"])
def test_every_version_of_ome_zarr(version: str, folder: str, tmp_path: Path) -> None:
    values = picture(96, 128).transpose(2, 0, 1)
    write_zarr(tmp_path / folder, version, [values, values[:, ::2, ::2]])
    slide = open_slide(tmp_path / folder)
    assert (slide.sizes, slide.channels) == (((128, 96), (64, 48)), 3)
    assert np.array_equal(slide.read(0, (0, 0), slide.size), values.transpose(0, 2, 1))
    assert slide.spacing_um == ((0.25, 0.5) if version >= "0.4" else None)


def test_levels_of_ome_zarr_in_any_order_and_scales_of_the_image(tmp_path: Path) -> None:
    values = picture(96, 128).transpose(2, 0, 1)
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "nanometre"} for n in "yx")]
    scale = {"coordinateTransformations": [{"type": "scale", "scale": [1, 1000, 2000]}], "axes": axes}
    write_zarr(tmp_path / "a.zarr", "0.4", [values, values[:, ::2, ::2]], **scale)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r+")
    image = dict(group.attrs["multiscales"][0])
    image["datasets"] = image["datasets"][::-1]
    group.attrs["multiscales"] = [image]
    slide = open_slide(tmp_path / "a.zarr")
    assert slide.size == (128, 96)
    assert slide.spacing_um == pytest.approx((0.25 * 2, 0.5 * 1))


def test_the_layout_of_bioformats2raw(tmp_path: Path) -> None:
    values = picture(96, 128).transpose(2, 0, 1)
    root = zarr.open_group(str(tmp_path / "one"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_zarr(tmp_path / "one" / "0", "0.4", [values])
    assert open_slide(tmp_path / "one").size == (128, 96)
    write_zarr(tmp_path / "one" / "1", "0.4", [values])
    with pytest.raises(ImageError, match=r"holds 2 scenes \(1: .*one/0, 2: .*one/1\)"):
        open_slide(tmp_path / "one")
