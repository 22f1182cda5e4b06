"""What is in an answer, one object after another: pieces of each class that hang together, with size, place and how sure.

Letters in shapes: ``C`` classes, ``*spatial`` the axes of the file, two or three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.utils import to_affine_nd

from monai_dis.pipeline.predict import Prediction
from monai_dis.pipeline.window_outlines import Box

__all__ = ["Found", "objects_of", "quadrants"]

#: Objects that are listed at most, the largest of all classes.
MOST_OBJECTS = 500
_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Found:
    """An object.

    Attributes:
        id: from 1, the largest first.
        name: of its class.
        size: in ``unit``.
        unit: ``"mL"``, ``"mm2"``, or ``"pixels"`` of a picture, whose scale nobody knows.
        voxel: its middle: column, row (and slice) of the file, from 0.
        ras_mm: the same in RAS coordinates; None for a picture.
        certainty: 1 minus the mean entropy in it, 0 to 1; None where it was not asked for.
        refined: whether a refined window has a part of it.
        quadrant: of a picture, as seen on the screen, such as ``"upper left"``; None for a volume.
    """

    id: int
    name: str
    size: float
    unit: str
    voxel: tuple[float, ...]
    ras_mm: tuple[float, ...] | None
    certainty: float | None
    refined: bool
    quadrant: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without what is not known."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in plain.items() if value is not None}


def objects_of(
    prediction: Prediction, classes: Mapping[int, str], *, picture: bool = False, most: int = MOST_OBJECTS
) -> list[Found]:
    """The objects of an answer, the largest first.

    Args:
        prediction: on the grid of the file.
        classes: names by index, from 1.
        picture: whether its pixels are no millimetres.
        most: objects that are listed.
    """
    affine = np.asarray(to_affine_nd(prediction.labels.ndim - 1, prediction.image.affine.double().cpu().numpy()))
    size, unit = _unit(affine, picture)
    entropy = None if prediction.uncertainty is None else prediction.uncertainty.float().numpy()
    found: list[tuple[int, str, npt.NDArray[np.float64], float | None, bool]] = []
    for number, mask in enumerate(prediction.class_masks().numpy(), start=1):
        name = classes.get(number, str(number))
        for places in _pieces(mask, most):
            sure = None if entropy is None else 1 - float(entropy[tuple(places.T)].mean())
            found.append((len(places), name, places.mean(axis=0), sure, _any_inside(places, prediction.boxes)))
    found.sort(key=lambda each: (-each[0], each[1], tuple(each[2])))
    shape = prediction.labels.shape[1:]
    return [
        Found(
            id=place,
            name=name,
            size=round(count * size, 4),
            unit=unit,
            voxel=tuple(round(float(n), 1) for n in middle),
            ras_mm=None if picture else tuple(round(float(n), 2) for n in (affine @ [*middle, 1.0])[:-1]),
            certainty=None if sure is None else round(sure, 4),
            refined=refined,
            quadrant=_quadrant(middle, shape) if picture else None,
        )
        for place, (count, name, middle, sure, refined) in enumerate(found[:most], start=1)
    ]


def quadrants(objects: Sequence[Found]) -> dict[str, dict[str, int]]:
    """How many objects of each class are in each quadrant of a picture."""
    counts: dict[str, Counter[str]] = {}
    for each in objects:
        if each.quadrant is not None:
            counts.setdefault(each.name, Counter())[each.quadrant] += 1
    return {name: dict(sorted(found.items())) for name, found in counts.items()}


def _unit(affine: npt.NDArray[Any], picture: bool) -> tuple[float, str]:
    """What one voxel is worth, and of what."""
    if picture:
        return 1.0, "pixels"
    extent = float(abs(np.linalg.det(affine[:-1, :-1])))
    return (extent / _MM3_PER_ML, "mL") if len(affine) == 4 else (extent, "mm2")


def _pieces(mask: npt.NDArray[np.bool_], most: int) -> list[npt.NDArray[np.int64]]:
    """(N, axes) places of each of the largest pieces of a mask whose voxels touch, by a corner at least."""
    from scipy.ndimage import find_objects, label

    if not mask.any():
        return []
    # Within its box alone: an organ is a small part of its scan.
    spans = [
        np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)
    ]
    corner = np.array([span[0] for span in spans])
    part = mask[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    numbered, _ = label(part, structure=np.ones((3,) * mask.ndim))
    sizes, boxes = np.bincount(numbered.ravel())[1:], find_objects(numbered)
    pieces = []
    for number in np.argsort(-sizes, kind="stable")[:most] + 1:
        box = boxes[number - 1]
        start = np.array([side.start for side in box])
        pieces.append(np.argwhere(numbered[box] == number) + start + corner)
    return pieces


def _any_inside(places: npt.NDArray[np.int64], boxes: Sequence[Box]) -> bool:
    low, high = places.min(axis=0), places.max(axis=0)
    near = [box for box in boxes if (box.low <= high).all() and (box.high >= low).all()]
    return any(bool(((places >= box.low) & (places <= box.high)).all(axis=1).any()) for box in near)


def _quadrant(middle: npt.NDArray[np.float64], shape: Sequence[int]) -> str:
    right, lower = (float(m) > (n - 1) / 2 for m, n in zip(middle, shape, strict=True))
    return f"{'lower' if lower else 'upper'} {'right' if right else 'left'}"
