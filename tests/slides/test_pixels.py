"""What TIFF files of others' writers hold is the same whole, by pieces and in a second reader, or refused by what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_dis.data import read_image
from monai_dis.errors import ImageError
from monai_dis.slides.opening import open_slide

imagecodecs = pytest.importorskip("imagecodecs")

SIZE = (48, 64)  # rows, columns


def colours(kind: Any = np.uint8) -> np.ndarray:
    """(rows, columns, 3) of smooth colours, which lossy compression keeps."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = np.stack([x * 3 + 20, y * 4 + 10, (x + y) * 2], axis=-1).astype(np.uint8)
    return picture if kind == np.uint8 else picture.astype(kind) * 257 if kind == np.uint16 else picture.astype(kind)


def grey(kind: Any = np.uint8) -> np.ndarray:
    return colours()[..., 0].astype(kind) * (257 if kind == np.uint16 else 1)


def by_pillow(mode: str, **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(colours()).convert(mode).save(path, **options)


def by_tifffile(values: Callable[[], np.ndarray], photometric: str, **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(
        path, values(), photometric=photometric, metadata=None, **{"tile": (16, 32), **options}
    )


def in_planes(kind: Any, config: str, compression: str | None) -> Callable[[Path], None]:
    """Colours one beside the other in a pixel, or each in a plane of its own."""

    def values() -> np.ndarray:
        return colours(kind) if config == "contig" else np.moveaxis(colours(kind), -1, 0)

    return by_tifffile(values, "rgb", planarconfig=config, compression=compression)


def with_alpha(kind: Any = np.uint8) -> np.ndarray:
    alpha = np.full((*SIZE, 1), 128 if kind == np.uint8 else 128 * 257, kind)
    return np.concatenate([colours(kind), alpha], axis=-1)


def palette() -> dict[str, Any]:
    table = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2]).astype(np.uint16) * 257
    return {"colormap": table}


@dataclass(frozen=True)
class Row:
    """A file: its writer, and the pixels (rows, columns[, colours]) that every reader should give, within a tolerance."""

    name: str
    write: Callable[[Path], None]
    truth: Callable[[], np.ndarray] = field(repr=False)
    within: float = 0.0


def looked_up() -> np.ndarray:
    return (palette()["colormap"] >> 8).T[grey()].astype(np.uint8)


def of_cmyk() -> np.ndarray:
    return np.asarray(Image.fromarray(colours()).convert("CMYK").convert("RGB"))


def in_ycbcr() -> np.ndarray:
    return np.asarray(Image.fromarray(colours()).convert("YCbCr"))


def of_ycbcr() -> np.ndarray:
    return np.asarray(Image.fromarray(colours()).convert("YCbCr").convert("RGB"))


ROWS = [
    *[
        Row(f"rgb {kind.__name__} {config} {compression}", in_planes(kind, config, compression), colours)
        for kind in (np.uint8, np.uint16) for config in ("contig", "separate") for compression in (None, "lzw", "zlib", "packbits")
    ],
    Row("rgb jpeg", by_tifffile(colours, "rgb", compression="jpeg"), colours, 6),
    Row("ycbcr jpeg", by_tifffile(in_ycbcr, "ycbcr", compression="jpeg", subsampling=(1, 1)), colours, 8),
    Row("ycbcr jpeg subsampled", by_tifffile(in_ycbcr, "ycbcr", compression="jpeg", subsampling=(2, 2)), colours, 12),
    Row("pillow jpeg", by_pillow("RGB", compression="jpeg", quality=95), colours, 4),
    Row("pillow deflate", by_pillow("RGB", compression="tiff_adobe_deflate"), colours),
    Row("alpha", by_tifffile(with_alpha, "rgb", extrasamples=["unassalpha"]), colours),
    Row("alpha 16", by_tifffile(lambda: with_alpha(np.uint16), "rgb", extrasamples=["unassalpha"]), colours),
    Row("unspecified sample", by_tifffile(with_alpha, "rgb", extrasamples=["unspecified"]), colours),
    Row("cmyk", by_pillow("CMYK"), of_cmyk),
    Row("cmyk tiled", by_tifffile(lambda: np.asarray(Image.fromarray(colours()).convert("CMYK")), "separated"), of_cmyk),
    Row("ycbcr", by_tifffile(in_ycbcr, "ycbcr", subsampling=(1, 1)), of_ycbcr),
    Row("palette", by_tifffile(grey, "palette", **palette()), looked_up),
    Row("grey", by_tifffile(grey, "minisblack"), grey),
    Row("grey lzw strips", by_tifffile(grey, "minisblack", tile=None, rowsperstrip=7, compression="lzw"), grey),
    Row("grey 16", by_tifffile(lambda: grey(np.uint16), "minisblack"), lambda: grey(np.uint16)),
    Row("grey float", by_tifffile(lambda: grey(np.float32), "minisblack"), lambda: grey(np.float32)),
    Row("white is zero", by_tifffile(grey, "miniswhite"), lambda: 255 - grey()),
    Row("white is zero 16", by_tifffile(lambda: grey(np.uint16), "miniswhite"), lambda: 65535 - grey(np.uint16)),
    Row("grey alpha", by_tifffile(lambda: np.stack([grey(), grey()], -1), "minisblack", extrasamples=["unassalpha"]), grey),
    Row("big tiff", by_tifffile(colours, "rgb", bigtiff=True), colours),
    Row("big endian", by_tifffile(lambda: colours(np.uint16), "rgb", byteorder=">"), colours),
]  # fmt: skip

REFUSED = [
    (by_tifffile(colours, "cielab"), "CIELAB"),
    (by_pillow("LAB"), "CIELAB"),
    (by_tifffile(lambda: colours(np.float32), "rgb"), "floating-point numbers of 32 bits"),
    (by_tifffile(lambda: colours(np.int16), "rgb"), "signed numbers of 16 bits"),
    (by_tifffile(lambda: grey(np.complex64), "minisblack"), "complex numbers"),
    (by_tifffile(grey, "cfa"), "colour filter array"),
]


def whole(path: Path) -> np.ndarray:
    return read_image(path).numpy()


def by_pieces(path: Path) -> np.ndarray:
    """(C, X, Y), from regions that do not meet the tiles."""
    slide = open_slide(path)
    (columns, rows), parts = slide.size, []
    for x in range(0, columns, 25):
        column = [slide.read(0, (x, y), (min(25, columns - x), min(19, rows - y))) for y in range(0, rows, 19)]
        parts.append(np.concatenate(column, axis=2))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_pixels_are_the_same_whole_and_by_pieces(row: Row, tmp_path: Path) -> None:
    row.write(tmp_path / "a.tif")
    truth = row.truth().astype(np.float32)
    truth = truth[None].transpose(0, 2, 1) if truth.ndim == 2 else truth.transpose(2, 1, 0)
    found = {"whole": whole(tmp_path / "a.tif"), "pieces": by_pieces(tmp_path / "a.tif")}
    for name, values in found.items():
        assert values.shape == truth.shape, name
        assert np.abs(values.astype(np.float32) - truth).max() <= row.within, name


@pytest.mark.parametrize("reader", [whole, by_pieces])
@pytest.mark.parametrize(("write", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_not_read_is_called_by_its_name(
    write: Callable[[Path], None], words: str, reader: Callable[[Path], np.ndarray], tmp_path: Path
) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"{words}.*, which is not read; save it as"):
        reader(tmp_path / "a.tif")


def test_jpeg_2000_of_aperio_is_converted_from_ycbcr(tmp_path: Path) -> None:
    stored = in_ycbcr()
    tile = imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(stored), codecformat="j2k", mct=False, reversible=True, level=0
    )
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(
            iter([tile]), shape=stored.shape, dtype=stored.dtype, photometric="rgb", tile=SIZE, compression=33003,
            description="Aperio Image Library v10.0.50\r\n64x48|MPP = 0.4990", metadata=None, software=False,
        )  # fmt: skip
    assert np.abs(by_pieces(tmp_path / "a.svs").astype(int) - of_ycbcr().transpose(2, 1, 0)).max() <= 1
