"""Several answers beside the truth: contours on one picture, then where each answer is wrong.

Letters in shapes: ``C`` channels, ``*spatial`` two or three axes, ``D`` their number, ``H`` rows, ``W`` columns of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_dis.reports.overlay import to_rgb
from monai_dis.reports.palette import Color, class_color, level_color
from monai_dis.reports.picture import FloatArray, Plane, WindowBox, colours_of, display_axes, plane_of

__all__ = ["comparison_picture"]

_TRUTH: Color = (255, 255, 255)
_MISSED: Color = (90, 160, 255)
_TOO_MUCH: Color = (255, 130, 30)
_OTHER: Color = (230, 90, 220)
_TITLE = 18


def comparison_picture(
    image: NDArray[np.generic],
    truth: NDArray[np.generic],
    answers: Mapping[str, NDArray[np.generic]],
    boxes: Sequence[WindowBox],
    affine: FloatArray,
    *,
    side: int = 480,
) -> Image.Image:
    """Draw the contours of truth and answers with the refined windows, and a map of the errors of each answer.

    Of a volume the axial slice is shown where the answers differ most in how wrong they are.

    Args:
        image: (C, *spatial); three channels of 0 to 255 are colours, otherwise the first channel is shown in grey.
        truth: (*spatial) class indices.
        answers: (*spatial) class indices by name, in the order in which they are shown.
        boxes: refined windows, in voxels of the file.
        affine: (D + 1, D + 1) voxel-to-world matrix, RAS millimetres.
        side: longer side of a panel in pixels.

    Returns:
        An RGB picture, panels from left to right: missed ground in blue, wrong ground in orange, a wrong class in purple.
    """
    plane = None if truth.ndim == 2 else _telling_plane(truth, answers, affine)
    base, size = _base(image, truth, plane, side)
    cuts = {name: _cut(answer, plane, size) for name, answer in answers.items()}
    there = _cut(truth, plane, size)

    first = base.copy()
    first[_edge(there)] = _TRUTH
    for number, answer in enumerate(cuts.values(), start=1):
        first[_edge(answer)] = class_color(number)
    contours = Image.fromarray(first)
    _draw_windows(contours, boxes, plane, truth.shape, size)
    titles = [("truth", _TRUTH), *((name, class_color(n)) for n, name in enumerate(cuts, start=1))]
    panels = [_titled(contours, titles)]
    for name, answer in cuts.items():
        panel = base.copy()
        for colour, where in (
            (_MISSED, (there > 0) & (answer == 0)),
            (_TOO_MUCH, (there == 0) & (answer > 0)),
            (_OTHER, (there > 0) & (answer > 0) & (there != answer)),
        ):
            panel[where] = (0.35 * panel[where] + 0.65 * np.asarray(colour)).astype(np.uint8)
        panels.append(_titled(Image.fromarray(panel), [(f"errors of {name}", (235, 235, 235))]))
    out = Image.new("RGB", (sum(p.width for p in panels) + 4 * (len(panels) - 1), panels[0].height), (24, 24, 24))
    left = 0
    for part in panels:
        out.paste(part, (left, 0))
        left += part.width + 4
    return out


def _telling_plane(truth: NDArray[np.generic], answers: Mapping[str, NDArray[np.generic]], affine: FloatArray) -> Plane:
    axis = display_axes(affine)[2]
    others = tuple(a for a in range(3) if a != axis)
    errors = [np.count_nonzero(answer != truth, axis=others) for answer in answers.values()]
    foreground = np.count_nonzero(truth, axis=others)
    spread = np.ptp(errors, axis=0)
    return plane_of(affine, truth.shape, int(np.lexsort((-foreground, -spread))[0]))


def _base(
    image: NDArray[np.generic], truth: NDArray[np.generic], plane: Plane | None, side: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The image as (H, W, 3) at the size of a panel, and that size as (columns, rows)."""
    picture = to_rgb(colours_of(image) if plane is None else plane.cut(image[0]))
    tall, wide = picture.shape[0] * (1.0 if plane is None else plane.pixel_aspect), picture.shape[1]
    zoom = side / max(tall, wide)
    size = (max(1, round(wide * zoom)), max(1, round(tall * zoom)))
    how = Image.Resampling.BOX if zoom < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture).resize(size, how)).copy(), size


def _cut(labels: NDArray[np.generic], plane: Plane | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    shown = np.ascontiguousarray(labels.T if plane is None else plane.cut(labels)).astype(np.uint8)
    return np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.NEAREST))


def _edge(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The inner pixels of each class that touch another."""
    padded = np.pad(labels, 1, mode="edge")
    differs = np.zeros(labels.shape, dtype=bool)
    for part in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        differs |= part != labels
    return differs & (labels > 0)


def _draw_windows(
    picture: Image.Image,
    boxes: Sequence[WindowBox],
    plane: Plane | None,
    shape: Sequence[int],
    size: tuple[int, int],
) -> None:
    draw = ImageDraw.Draw(picture)
    for box in sorted(boxes, key=lambda b: b.level):
        low, high = box.corners.min(axis=0), box.corners.max(axis=0)
        if plane is None:
            rows, columns, (height, width) = [low[1], high[1]], [low[0], high[0]], (shape[1], shape[0])
        else:
            if not low[plane.slice_axis] <= plane.index <= high[plane.slice_axis]:
                continue
            (top, left), _, (bottom, right), _ = plane.polygon(low, high)
            rows, columns = sorted((top, bottom)), sorted((left, right))
            height, width = shape[plane.row_axis], shape[plane.column_axis]
        (top, bottom), (left, right) = rows, columns
        x, y = size[0] / width, size[1] / height
        draw.rectangle(
            [(left + 0.5) * x, (top + 0.5) * y, (right + 0.5) * x, (bottom + 0.5) * y], outline=level_color(box.level)
        )


def _titled(picture: Image.Image, titles: Sequence[tuple[str, Color]]) -> Image.Image:
    out = Image.new("RGB", (picture.width, picture.height + _TITLE + 8), (24, 24, 24))
    out.paste(picture, (0, _TITLE + 8))
    draw, font, left = ImageDraw.Draw(out), ImageFont.load_default(size=_TITLE - 4), 4.0
    for text, colour in titles:
        draw.text((left, 4 + _TITLE / 2), text, fill=colour, font=font, anchor="lm")
        left += font.getlength(text) + 12
    return out
