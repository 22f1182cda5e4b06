"""Slides for tests: pixels with structure at every scale, files of several kinds, and a bundle that keeps a slide's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from small_bundle import write_tiny_bundle

__all__ = ["slide_bundle", "spots", "write_tiff"]


def spots(columns: int, rows: int, empty: int = 240) -> np.ndarray:
    """(rows, columns, 3) bright discs of many sizes on grey ground with a little noise; the left quarter is empty, glass or dark."""
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 80, (rows, columns), dtype=np.uint8)
    for _ in range(max(8, columns * rows // 40_000)):
        radius = int(rng.integers(4, 40))
        x, y = int(rng.integers(min(columns // 4 + 60, columns - 1), columns)), int(rng.integers(rows))
        top, left = max(0, y - radius), max(0, x - radius)
        part = picture[top : y + radius + 1, left : x + radius + 1]
        j, i = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
        part[(i - x) ** 2 + (j - y) ** 2 <= radius**2] = rng.integers(170, 220)
    picture[:, : columns // 4] = empty
    return np.repeat(picture[..., None], 3, axis=2)


def write_tiff(path: Path, pixels: np.ndarray, levels: int = 1, **options: Any) -> Path:
    """A tiled TIFF with levels of half the size each, by means of two by two pixels."""
    given = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb", **options}
    first = {key: given.pop(key) for key in ("metadata", "resolution", "resolutionunit", "description") if key in given}
    with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as file:
        file.write(pixels, subifds=levels - 1, **given, **first)
        for _ in range(levels - 1):
            even = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2].astype(np.float32)
            four = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
            pixels = np.rint(four / 4).astype(pixels.dtype)
            file.write(pixels, subfiletype=1, **given)
    return path


@pytest.fixture
def slide_bundle(tmp_path: Path) -> Path:
    """The bundle that calls bright pixels foreground, on the pixels of the file as they are."""
    folder = write_tiny_bundle(tmp_path)
    config = folder / "configs" / "inference.yaml"
    text = config.read_text()
    resized = "  - {_target_: Resized, keys: image, spatial_size: [64, 64], mode: bilinear}\n"
    assert resized in text
    config.write_text(text.replace(resized, ""))
    return folder
