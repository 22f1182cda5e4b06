"""What is in an answer, one object after another: pieces of each class that hang together, with size, place and how sure.

The label server, `segment`'s report and table, and DICOM reports all take their lists from here.

Letters in shapes: ``*spatial`` the axes of the file, two or three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.utils import to_affine_nd

from monai_dis.pipeline.predict import Prediction
from monai_dis.pipeline.window_outlines import Box

__all__ = ["CENTRES", "Found", "Ground", "Objects", "find_objects", "ground_of", "layers_of", "objects_of"]

#: Objects that are listed at most, the largest of all classes; all are counted.
MOST_OBJECTS = 200
_MM3_PER_ML = 1000.0
#: Parts of names of classes about which the quadrants of a retina are counted, the first that is found; else it is the image's middle.
CENTRES = ("fovea", "macula", "optic disc", "optic disk")
_MIDDLE = "the middle of the image"


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
        certainty: 1 minus the mean entropy of the classes' probabilities in it, 0 to 1; None where it was not asked for.
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


@dataclass(frozen=True)
class Objects:
    """The objects of an answer.

    Attributes:
        found: the largest.
        counts: of all, by the name of the class; 0 where there is none.
        quadrants: of a picture, how many objects of each class are in each of its quadrants; None for a volume.
        about: of a picture, what the quadrants meet at.
    """

    found: tuple[Found, ...]
    counts: Mapping[str, int]
    quadrants: Mapping[str, Mapping[str, int]] | None = None
    about: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """``object_counts``, ``objects``, and of a picture ``quadrants`` and ``quadrants_about``, in plain JSON types."""
        listed: dict[str, Any] = {
            "object_counts": dict(self.counts),
            "objects": [each.to_dict() for each in self.found],
        }
        if self.quadrants is None:
            return listed
        counted = {name: dict(counts) for name, counts in self.quadrants.items()}
        return {**listed, "quadrants": counted, "quadrants_about": self.about}


@dataclass(frozen=True)
class Ground:
    """What is known of the voxels in which objects are found.

    Attributes:
        affine: (D + 1, D + 1) from voxels to RAS coordinates in mm; None of a picture, which has no place in space.
        pixel_mm2: of a picture, where its scale is known.
        is_refined: told (N, D) places, whether a refined window has one of them.
        entropy: (*spatial) 0 to 1, where it was asked for.
    """

    affine: npt.NDArray[np.float64] | None
    pixel_mm2: float | None = None
    is_refined: Callable[[npt.NDArray[np.int64]], bool] = field(default=lambda places: False, repr=False)
    entropy: npt.NDArray[np.floating[Any]] | None = field(default=None, repr=False)

    @property
    def unit(self) -> tuple[float, str]:
        """What one voxel is worth, and of what."""
        if self.affine is None:
            return (1.0, "pixels") if self.pixel_mm2 is None else (self.pixel_mm2, "mm2")
        extent = float(abs(np.linalg.det(self.affine[:-1, :-1])))
        return (extent / _MM3_PER_ML, "mL") if len(self.affine) == 4 else (extent, "mm2")


def find_objects(
    layers: Iterable[tuple[str, npt.NDArray[np.bool_]]], ground: Ground, *, most: int = MOST_OBJECTS
) -> Objects:
    """The objects of an answer, the largest first.

    Args:
        layers: name and (*spatial) mask of each class.
        ground: what is known of the voxels.
        most: objects that are listed.
    """
    size, unit = ground.unit
    largest: list[tuple[int, str, npt.NDArray[np.float64], float | None, bool]] = []
    middles: dict[str, npt.NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    shape: tuple[int, ...] = ()
    for name, mask in layers:
        shape = mask.shape
        pieces = _Pieces.of(mask)
        counts[name] = len(pieces.sizes)
        if ground.affine is None:
            middles[name] = pieces.middles()
        for places in pieces.largest(most):
            sure = None if ground.entropy is None else 1 - float(ground.entropy[tuple(places.T)].mean())
            largest.append((len(places), name, places.mean(axis=0), sure, ground.is_refined(places)))
    largest.sort(key=lambda each: (-each[0], each[1], tuple(each[2])))
    centre, about = _centre(middles, shape)
    found = tuple(
        Found(
            id=place,
            name=name,
            size=round(count * size, 4),
            unit=unit,
            voxel=tuple(round(float(n), 1) for n in middle),
            ras_mm=None if ground.affine is None else _moved(ground.affine, middle),
            certainty=None if sure is None else round(sure, 4),
            refined=refined,
            quadrant=_quadrant(middle, centre) if ground.affine is None else None,
        )
        for place, (count, name, middle, sure, refined) in enumerate(largest[:most], start=1)
    )
    if ground.affine is not None:
        return Objects(found, counts)
    quadrants = {
        name: dict(sorted(Counter(_quadrant(middle, centre) for middle in every).items()))
        for name, every in middles.items()
        if len(every)
    }
    return Objects(found, counts, quadrants, about)


def objects_of(
    prediction: Prediction, classes: Mapping[int, str], *, picture: bool = False, most: int = MOST_OBJECTS
) -> Objects:
    """The objects of an answer on the grid of its file.

    Args:
        prediction: the answer.
        classes: names by index, from 1.
        picture: whether its pixels are no millimetres.
        most: objects that are listed.
    """
    return find_objects(
        layers_of(prediction.labels.numpy(), classes, prediction.num_classes), ground_of(prediction, picture), most=most
    )


def ground_of(prediction: Prediction, picture: bool) -> Ground:
    """What is known of the voxels of an answer."""
    affine = np.asarray(to_affine_nd(prediction.labels.ndim - 1, prediction.image.affine.double().cpu().numpy()))
    entropy = None if prediction.uncertainty is None else prediction.uncertainty.float().numpy()
    return Ground(None if picture else affine, None, lambda places: _any_inside(places, prediction.boxes), entropy)


def layers_of(
    labels: npt.NDArray[Any], classes: Mapping[int, str], num_classes: int
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and mask of each class, one after another: all at once would be many times the answer.

    Args:
        labels: (1, *spatial) class indices, or (C, *spatial) of 0 and 1 for classes that overlap.
        classes: names by index, from 1.
        num_classes: with the background.
    """
    for number in range(1, num_classes):
        mask = labels[0] == number if labels.shape[0] == 1 else labels[number - 1] > 0
        yield classes.get(number, str(number)), mask


@dataclass(frozen=True)
class _Pieces:
    """The pieces of a mask whose voxels touch, by a corner at least.

    Attributes:
        numbered: (*spatial) number of the piece from 1, within the box around all of them.
        corner: of that box.
        sizes: voxels of each piece.
    """

    numbered: npt.NDArray[np.int32] = field(repr=False)
    corner: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> _Pieces:
        from scipy.ndimage import label

        if not mask.any():
            return cls(np.zeros((0,) * mask.ndim, np.int32), np.zeros(mask.ndim, np.int64), np.zeros(0, np.int64))
        # Within its box alone: an organ is a small part of its scan.
        spans = [
            np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)
        ]
        part = mask[tuple(slice(span[0], span[-1] + 1) for span in spans)]
        numbered, _ = label(part, structure=np.ones((3,) * mask.ndim))
        return cls(numbered, np.array([span[0] for span in spans]), np.bincount(numbered.ravel())[1:])

    def middles(self) -> npt.NDArray[np.float64]:
        """(N, D) middle of each piece."""
        if not len(self.sizes):
            return np.zeros((0, self.numbered.ndim))
        places = np.nonzero(self.numbered)
        number = self.numbered[places] - 1
        sums = [np.bincount(number, weights=each, minlength=len(self.sizes)) for each in places]
        return np.stack(sums, axis=1) / self.sizes[:, None] + self.corner

    def largest(self, most: int) -> Iterator[npt.NDArray[np.int64]]:
        """(N, D) places of each of the largest pieces."""
        from scipy.ndimage import find_objects as boxes_of

        boxes = boxes_of(self.numbered) if len(self.sizes) else []
        for number in np.argsort(-self.sizes, kind="stable")[:most] + 1:
            box = boxes[number - 1]
            start = np.array([side.start for side in box])
            yield np.argwhere(self.numbered[box] == number) + start + self.corner


def _moved(affine: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(n), 2) for n in (affine @ [*middle, 1.0])[:-1])


def _any_inside(places: npt.NDArray[np.int64], boxes: Sequence[Box]) -> bool:
    low, high = places.min(axis=0), places.max(axis=0)
    near = [box for box in boxes if (box.low <= high).all() and (box.high >= low).all()]
    return any(bool(((places >= box.low) & (places <= box.high)).all(axis=1).any()) for box in near)


def _centre(
    middles: Mapping[str, npt.NDArray[np.float64]], shape: Sequence[int]
) -> tuple[npt.NDArray[np.float64], str]:
    """Where the quadrants of a picture meet, and what is there."""
    for words in CENTRES:
        for name, every in middles.items():
            # Two discs are one too many to know which is meant.
            if words in name.lower().replace("_", " ") and len(every) == 1:
                return every[0], name
    return (np.asarray(shape, dtype=np.float64) - 1) / 2, _MIDDLE


def _quadrant(middle: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]) -> str:
    right, lower = (bool(m > c) for m, c in zip(middle, centre, strict=True))
    return f"{'lower' if lower else 'upper'} {'right' if right else 'left'}"
