"""Find the round field of view of a fundus photograph, also where the frame cuts it.

Letters in shapes: ``C`` channels, ``*spatial`` two axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FieldOfView", "find_field_of_view"]

_LONGEST = 384  # pixels of the copy on which it is sought
_DARK = (0.1, 0.05, 0.2, 0.3)  # of the range from the border's brightness to the retina's: glare may be in the border
_BORDER = 0.35  # of the retina's brightness, what the border's may be; else it is retina in the shade
_FRAME = 2  # pixels beside the frame in which an outline is the frame's own
_DRAWS, _REFITS = 400, 3
_TOLERANCE = 0.01  # of the radius, between an outline's point and the circle
_SECTORS, _SEEN = 72, 20  # sectors of the circle, and how many must show an outline
_SIZES = (0.5, 1.7)  # of the longer side, what a diameter may be


@dataclass(frozen=True)
class FieldOfView:
    """A circle in pixels of the image.

    Attributes:
        centre: position along each axis; the middle of the first pixel is 0.
        diameter: in pixels; may be larger than a side of the image, which then shows a part of the circle.
    """

    centre: tuple[float, float]
    diameter: float


def find_field_of_view(image: Tensor) -> FieldOfView | None:
    """The circle of retina in a photograph with a dark border.

    What is brighter than the border, its largest part, holes filled; a circle through three points of the outline with most of the
    others on it (M. Fischler and R. Bolles, "Random sample consensus", 1981, with draws of a fixed seed), then least squares over
    those. An outline along the frame, where a camera cuts the circle, does not count, and marks on the circle's edge fall out.

    Args:
        image: ``(C, *spatial)`` of any type and range.

    Returns:
        the circle; None where no dark border is to be seen.
    """
    brightness, factor = _small(image)
    circles = [circle for share in _DARK if (circle := _fit(_outline(brightness, share))) is not None]
    sizes = [2 * radius / max(brightness.shape) for _, radius, _ in circles]
    plain = [circle for circle, size in zip(circles, sizes, strict=True) if _SIZES[0] <= size <= _SIZES[1]]
    if not plain:
        return None
    centre, radius, _ = max(plain, key=lambda circle: circle[2])
    first, second = ((float(c) + 0.5) * factor - 0.5 for c in centre)
    return FieldOfView((first, second), float(2 * radius * factor))


def _small(image: Tensor) -> tuple[np.ndarray, float]:
    """The brightest channel of a small copy, and how many pixels of the image are one of it."""
    plane = torch.as_tensor(image).amax(0).float()[None, None]
    factor = max(1.0, max(plane.shape[2:]) / _LONGEST)
    size = [max(1, round(n / factor)) for n in plane.shape[2:]]
    return F.interpolate(plane, size=size, mode="area")[0, 0].numpy(), factor


def _outline(brightness: np.ndarray, share: float) -> np.ndarray:
    """Points (n, 2) where the retina ends, without those at the frame."""
    from scipy import ndimage

    dark, bright = np.percentile(brightness, [0.5, 90])
    if dark > _BORDER * bright:
        return np.zeros((0, 2))
    inside = ndimage.binary_opening(brightness > dark + share * (bright - dark), iterations=2)
    parts, count = ndimage.label(inside)
    if count == 0:
        return np.zeros((0, 2))
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    retina = ndimage.binary_fill_holes(parts == largest)
    edge = retina & ~ndimage.binary_erosion(retina, border_value=1)
    frame = np.zeros_like(edge)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    return np.argwhere(edge & frame).astype(float)


def _fit(points: np.ndarray) -> tuple[np.ndarray, float, int] | None:
    """Centre and radius of the circle on which most points lie, and how many sectors show it; None where too few do."""
    if len(points) < _SEEN:
        return None
    centres, radii = _circles(points[np.random.RandomState(0).randint(len(points), size=(_DRAWS, 3))])
    counts = [int(_on(points, centre, radius).sum()) for centre, radius in zip(centres, radii, strict=True)]
    if not any(counts):
        return None
    centre, radius = centres[np.argmax(counts)], float(radii[np.argmax(counts)])
    for _ in range(_REFITS):
        circle = _least_squares(points[_on(points, centre, radius)])
        if circle is None:
            return None
        centre, radius = circle
    away = points[_on(points, centre, radius)] - centre
    sectors = np.floor((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS)
    seen = len(np.unique(sectors))
    return (centre, radius, seen) if seen >= _SEEN else None


def _on(points: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(np.abs(np.linalg.norm(points - centre, axis=1) - radius) <= max(_TOLERANCE * radius, 0.75))


def _circles(triples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (k, 2) and radii (k,) of the circles through three points each, (n, 3, 2); those in a line are left out."""
    first, sides = triples[:, 0], triples[:, 1:] - triples[:, :1]
    area = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
    first, sides, area = first[area != 0], sides[area != 0], area[area != 0]
    squares = (sides**2).sum(axis=2)
    x = sides[:, 1, 1] * squares[:, 0] - sides[:, 0, 1] * squares[:, 1]
    y = sides[:, 0, 0] * squares[:, 1] - sides[:, 1, 0] * squares[:, 0]
    away = np.stack([x, y], axis=1) / (2 * area[:, None])
    return first + away, np.linalg.norm(away, axis=1)


def _least_squares(points: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The circle of least squares through three points or more (I. Kåsa, 1976); None where they lie in a line."""
    matrix = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(matrix, (points**2).sum(axis=1), rcond=None)
    if rank < 3:
        return None
    square = solution[2] + (solution[:2] ** 2).sum()
    return (solution[:2], float(np.sqrt(square))) if square > 0 else None
