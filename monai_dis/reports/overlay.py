"""A picture of one result: the image, the segmentation on it, and the windows that were refined.

Letters in shapes: ``H`` rows, ``W`` columns of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_dis.reports.palette import Color, class_color, level_color

__all__ = ["Outline", "draw_overlay", "to_rgb"]

_TINT = 0.45
_MARGIN = 6


@dataclass(frozen=True)
class Outline:
    """A window on the picture.

    Attributes:
        level: 1 for the coarsest level that has windows.
        corners: polygon as (row, column) pairs in pixels, where pixel ``i`` covers ``i - 0.5`` to ``i + 0.5``.
    """

    level: int
    corners: tuple[tuple[float, float], ...]


def draw_overlay(
    image: NDArray[np.generic],
    labels: NDArray[np.generic],
    windows: Sequence[Outline] = (),
    *,
    class_names: Mapping[int, str] | None = None,
    pixel_aspect: float = 1.0,
    max_side: int = 1600,
    min_side: int = 0,
) -> Image.Image:
    """Draw a segmentation and its refined windows over an image, with a legend below.

    Args:
        image: (H, W) of any numeric type, shown between its 0.5th and 99.5th percentile; or (H, W, 3) of uint8.
        labels: (H, W) class indices, 0 is background.
        windows: outlines; coarser levels are drawn first, so that finer ones stay visible.
        class_names: names for the legend, by class index.
        pixel_aspect: height of a pixel divided by its width.
        max_side: pictures larger than this are shrunk to it.
        min_side: pictures smaller than this are enlarged to it.

    Returns:
        An RGB picture of the image's aspect, with the legend under it.
    """
    height, width = labels.shape
    tall = height * pixel_aspect
    zoom = min(max_side / max(tall, width), max(1.0, min_side / max(tall, width)))
    size = (max(1, round(width * zoom)), max(1, round(tall * zoom)))

    base = Image.fromarray(to_rgb(image)).resize(size, Image.Resampling.BOX if zoom < 1 else Image.Resampling.BILINEAR)
    canvas = np.asarray(base, dtype=np.float32)
    present = [int(c) for c in np.flatnonzero(np.bincount(labels.ravel())) if c > 0]
    for index in present:
        canvas = _tint(canvas, labels == index, class_color(index), size)
    picture = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))

    draw = ImageDraw.Draw(picture)
    line = max(1, round(max(size) / 600))
    for window in sorted(windows, key=lambda w: w.level):
        points = [((c + 0.5) * size[0] / width, (r + 0.5) * size[1] / height) for r, c in window.corners]
        draw.line([*points, points[0], points[1]], fill=level_color(window.level), width=line, joint="curve")
    return _with_legend(picture, _legend(present, windows, class_names or {}))


def to_rgb(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W) of any numeric type between its 0.5th and 99.5th percentile, or (H, W, 3), as (H, W, 3) of uint8."""
    if image.ndim == 3 and image.dtype == np.uint8:
        return np.ascontiguousarray(image[..., :3])
    values = np.asarray(image, dtype=np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / max(float(high - low), 1e-6), 0, 1)
    grey = np.rint(scaled * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2) if grey.ndim == 2 else np.ascontiguousarray(grey[..., :3])


def _tint(
    canvas: NDArray[np.float32], mask: NDArray[np.bool_], color: Color, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Tint by the share of each pixel that the class covers, so that thin structures survive shrinking; edges are solid."""
    shrunk = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    cover = np.asarray(shrunk, dtype=np.float32)[..., None] / 255.0
    inside = np.pad(cover[..., 0] >= 0.5, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    edge = (inside[1:-1, 1:-1] & ~core)[..., None]
    alpha = np.where(edge, 0.9, _TINT * cover).astype(np.float32)
    mixed: NDArray[np.float32] = canvas * (1 - alpha) + np.asarray(color, dtype=np.float32) * alpha
    return mixed


def _legend(present: Sequence[int], windows: Sequence[Outline], names: Mapping[int, str]) -> list[tuple[Color, str]]:
    entries = [(class_color(index), names.get(index, f"class {index}")) for index in present]
    for level in sorted({window.level for window in windows}):
        count = sum(window.level == level for window in windows)
        entries.append((level_color(level), f"level {level}: {count} window{'s' if count != 1 else ''}"))
    return entries


def _with_legend(picture: Image.Image, entries: Sequence[tuple[Color, str]]) -> Image.Image:
    if not entries:
        return picture
    text = max(11, min(28, picture.width // 45))
    font = ImageFont.load_default(size=text)
    row = text + 2 * _MARGIN
    lines: list[list[tuple[int, Color, str]]] = [[]]
    x = _MARGIN
    for color, label in entries:
        needed = text + _MARGIN + int(font.getlength(label)) + 3 * _MARGIN
        if lines[-1] and x + needed > picture.width:
            lines.append([])
            x = _MARGIN
        lines[-1].append((x, color, label))
        x += needed
    out = Image.new("RGB", (picture.width, picture.height + row * len(lines)), (24, 24, 24))
    out.paste(picture, (0, 0))
    draw = ImageDraw.Draw(out)
    for number, line in enumerate(lines):
        top = picture.height + number * row + _MARGIN
        for left, color, label in line:
            draw.rectangle([left, top, left + text - 1, top + text - 1], fill=color)
            draw.text((left + text + _MARGIN, top + text / 2), label, fill=(235, 235, 235), font=font, anchor="lm")
    return out
