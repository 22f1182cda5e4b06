"""Where to look: what stays uncertain and what was refined, as a label map, and a ranked list of places.

Letters in shapes: ``*spatial`` the axes of the file, two or three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.utils import to_affine_nd

from monai_dis.pipeline.predict import Prediction
from monai_dis.pipeline.window_outlines import Box

__all__ = ["Place", "look_classes", "look_map", "ranked_places", "windows_mask"]

#: Names of what is added to the classes.
UNCERTAIN_NAME, REFINED_NAME = "uncertain", "refined"
MOST_PLACES = 10
#: Entropy from which a voxel counts as uncertain: the likelier class has less than 89 percent.
UNCERTAIN = 0.5
_SHARE_OF_IMAGE = 10  # a place is as wide as a tenth of the image's longest side


@dataclass(frozen=True)
class Place:
    """A place to look at.

    Attributes:
        rank: from 1, the most uncertain first.
        voxel: column, row (and slice) of the file, from 0.
        ras_mm: the same in RAS coordinates, for a volume; None for a picture.
        uncertainty: mean entropy in the place, 0 to 1.
        uncertain_voxels: how many voxels of it are uncertain.
    """

    rank: int
    voxel: tuple[int, ...]
    ras_mm: tuple[float, ...] | None
    uncertainty: float
    uncertain_voxels: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def look_classes(classes: Mapping[int, str]) -> dict[int, str]:
    """The classes of the label map that says where to look: those of the model, and two more.

    Example:
        >>> look_classes({1: "liver"})
        {1: 'liver', 2: 'uncertain', 3: 'refined'}
    """
    last = max(classes, default=0)
    return {**classes, last + 1: UNCERTAIN_NAME, last + 2: REFINED_NAME}


def look_map(prediction: Prediction, classes: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """The classes, over them what stays uncertain, and under them what was refined.

    Args:
        prediction: with its uncertainty.
        classes: of the model.

    Returns:
        (*spatial) on the file's grid, class indices of `look_classes`.
    """
    assert prediction.uncertainty is not None
    last = max(classes, default=0)
    uncertain = prediction.uncertainty.float().numpy() > UNCERTAIN
    refined = windows_mask(prediction.boxes, uncertain.shape)
    labels = prediction.label_map().numpy()
    found: npt.NDArray[np.uint8] = np.where(
        uncertain, last + 1, np.where(labels > 0, labels, np.where(refined, last + 2, 0))
    ).astype(np.uint8)
    return found


def windows_mask(boxes: Sequence[Box], size: Sequence[int]) -> npt.NDArray[np.bool_]:
    """(*spatial) bool, inside the refined windows; one that lies askew counts with all of its bounding box."""
    inside = np.zeros(tuple(size), dtype=np.bool_)
    for box in boxes:
        low = np.ceil(np.maximum(box.low, 0)).astype(int)
        high = np.floor(box.high).astype(int) + 1
        inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return inside


def ranked_places(prediction: Prediction, most: int = MOST_PLACES) -> list[Place]:
    """The places with the most uncertainty, which do not overlap.

    A place is a box of equal sides in millimetres (in pixels, in a picture). It is found by the sum of uncertainty in it, so that a
    certain boundary, thin as it is, comes after a doubtful region.

    Args:
        prediction: with its uncertainty.
        most: number of places.
    """
    from scipy.ndimage import uniform_filter

    assert prediction.uncertainty is not None
    values = prediction.uncertainty.float().numpy()
    affine = np.asarray(to_affine_nd(values.ndim, prediction.image.affine.double().cpu().numpy()))
    spacing = np.linalg.norm(affine[:-1, :-1], axis=0)
    side = float(max(n * s for n, s in zip(values.shape, spacing, strict=True))) / _SHARE_OF_IMAGE
    width = [max(1, min(n, round(side / s))) for n, s in zip(values.shape, spacing, strict=True)]
    means = uniform_filter(values, size=width, mode="constant")
    places = []
    for rank in range(1, most + 1):
        voxel = tuple(int(i) for i in np.unravel_index(int(means.argmax()), means.shape))
        if means[voxel] <= 0.01 * UNCERTAIN:
            break
        box = tuple(slice(max(0, i - w // 2), i - w // 2 + w) for i, w in zip(voxel, width, strict=True))
        inside = values[box]
        # Within the box, the middle of what is uncertain: the reader's cross-hair goes there.
        weights = np.where(inside > UNCERTAIN, inside, 0) if bool((inside > UNCERTAIN).any()) else inside
        middle = [
            float((np.indices(inside.shape)[axis] * weights).sum() / weights.sum()) for axis in range(inside.ndim)
        ]
        at = tuple(round(part.start + m) for part, m in zip(box, middle, strict=True))
        ras = tuple(round(float(c), 2) for c in (affine @ [*at, 1.0])[:-1]) if values.ndim == 3 else None
        places.append(Place(rank, at, ras, round(float(inside.mean()), 4), int((inside > UNCERTAIN).sum())))
        # Its neighbours' boxes would show the same ground.
        near = tuple(slice(max(0, i - w), i + w + 1) for i, w in zip(voxel, width, strict=True))
        means[near] = -1
    return places
