"""A label on the voxels of its image: geometry first.

A label whose voxels lie in another order, as its affine says, is brought to the image's order, as MONAI's ``Orientation``
would. One that lies elsewhere (shifted, mirrored, of another spacing or size, without its header) is refused with the
distance in mm. A picture has no place in space: there the size decides.

Letters in shapes: ``C`` channels, ``*spatial`` the axes of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_dis.data.grid import Grid, Matrix
from monai_dis.errors import DataError

__all__ = ["LABEL_GEOMETRY", "GeometryPolicy", "on_image_grid"]

logger = logging.getLogger(__name__)

#: Name of the finding, for ``--policy LABEL_GEOMETRY=warn``.
LABEL_GEOMETRY = "LABEL_GEOMETRY"

_APART = 0.1  # of a voxel: headers are written with a few digits


class GeometryPolicy(str, Enum):
    """What is done about a label that lies elsewhere than its image.

    Attributes:
        REJECT: it is refused.
        WARN: where it has the size of its image its voxels are taken for the image's, with a warning: for labels whose
            headers are known to be lost.
    """

    REJECT = "reject"
    WARN = "warn"


@dataclass(frozen=True)
class _Order:
    """How the axes of a label become those of its image: which one, and whether backwards."""

    axes: tuple[int, ...]
    reversed: tuple[bool, ...]

    def applied(self, values: Tensor) -> Tensor:
        """(C, *spatial) in the other order."""
        moved = values.permute(0, *(axis + 1 for axis in self.axes))
        return moved.flip([place + 1 for place, back in enumerate(self.reversed) if back])

    def of(self, grid: Grid) -> Grid:
        """The grid in the other order; the same places in space."""
        old = grid.matrix
        new = old.copy()
        for place, (axis, back) in enumerate(zip(self.axes, self.reversed, strict=True)):
            new[:, place] = old[:, axis] * (-1 if back else 1)
            new[:, 3] += old[:, axis] * (grid.size[axis] - 1) * back
        return Grid(tuple(grid.size[axis] for axis in self.axes), new, path=grid.path)


def on_image_grid(
    label: MetaTensor, image: Grid, path: str | Path, policy: GeometryPolicy | str = GeometryPolicy.REJECT
) -> MetaTensor:
    """Bring a label to the voxels of its image.

    Args:
        label: ``(C, *spatial)`` as read from its file.
        image: the grid of the image's file.
        path: of the label, named in errors.
        policy: what is done about a label that lies elsewhere.

    Returns:
        ``(C, *spatial)`` of the image's size, with the geometry of the image's file.

    Raises:
        DataError: when it lies elsewhere, or is of another size.
    """
    label = _without_last_axes(label, len(image.size))
    own = Grid.of(label)
    if len(own.size) != len(image.size):
        raise DataError(
            f"{path} has {len(own.size)} axes ({_times(own.size)}), its image {len(image.size)} ({_times(image.size)}); "
            "give the label that was made on this image."
        )
    values = label.as_tensor()
    if not (own.in_space and image.in_space):
        _check_pixels(own, image, path)
        return _placed(values, label, image)
    order = _order(own, image)
    moved = order.of(own)
    apart, voxels = _distance(moved, image)
    if moved.size == image.size and voxels <= _APART:
        return _placed(order.applied(values), label, image)
    reason = _reason(moved, image)
    if own.size == image.size and GeometryPolicy(policy) is GeometryPolicy.WARN:
        logger.warning(
            "%s: %s lies up to %.3g mm from its image (%s); its voxels are taken for the image's",
            LABEL_GEOMETRY, path, apart, reason,
        )  # fmt: skip
        return _placed(values, label, image)
    allowed = (
        f" If its header is lost and its voxels are those of the image, allow it with --policy {LABEL_GEOMETRY}=warn "
        "(label_geometry: warn in a config)."
    )
    raise DataError(
        f"{LABEL_GEOMETRY}: {path} does not lie on its image: its corners are up to {apart:.3g} mm away "
        f"({reason}). Save it on the voxels of the image.{allowed if own.size == image.size else ''}"
    )


def _check_pixels(label: Grid, image: Grid, path: str | Path) -> None:
    if label.size == image.size:
        return
    other = image.path or "its image"
    turned = (
        " The sizes are each other's, turned by 90 degrees: a camera's EXIF tag may turn the image, and then the mask must be "
        "turned as well."
    )
    raise DataError(
        f"{path} is {_times(label.size)} pixels, {other} is {_times(image.size)}; a label must cover its image."
        f"{turned if label.size == image.size[::-1] else ''}"
    )


def _order(label: Grid, image: Grid) -> _Order:
    """The order in which the label's axes run along the image's; as it is where they do not."""
    axes = len(image.size)
    try:
        along = (np.linalg.inv(image.matrix) @ label.matrix)[:axes, :axes]
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"the header of the image {image.path} places it nowhere: its affine has no inverse; mend the file."
        ) from error
    found = [int(axis) for axis in np.abs(along).argmax(axis=1)]
    if sorted(found) != list(range(axes)):
        return _Order(tuple(range(axes)), (False,) * axes)
    return _Order(tuple(found), tuple(bool(along[place, axis] < 0) for place, axis in enumerate(found)))


def _distance(label: Grid, image: Grid) -> tuple[float, float]:
    """Largest distance of corresponding corners, in mm and in voxels of the image along an axis."""
    difference: Matrix = label.corners() - image.corners()
    voxels = np.linalg.solve(image.matrix[:3, :3], difference.T)
    return float(np.linalg.norm(difference, axis=1).max()), float(np.abs(voxels).max())


def _reason(label: Grid, image: Grid) -> str:
    if label.size != image.size:
        return f"{_times(label.size)} voxels, the image has {_times(image.size)}"
    one, other = (_spacing(grid) for grid in (label, image))
    if not np.allclose(one, other, rtol=1e-3):
        return f"voxels of {_times(one)} mm, those of the image are {_times(other)} mm"
    return "voxels of the same size in another place"


def _spacing(grid: Grid) -> list[float]:
    return [float(n) for n in np.linalg.norm(grid.matrix[:3, : len(grid.size)], axis=0)]


def _without_last_axes(label: MetaTensor, axes: int) -> MetaTensor:
    """Without last axes of one element, which viewers give to the label of a picture."""
    extra = label.shape[1 + axes :]
    if not extra or set(extra) != {1}:
        return label
    flat = MetaTensor(label.as_tensor().reshape(label.shape[: 1 + axes]), meta=dict(label.meta))
    flat.meta["spatial_shape"] = np.array(label.shape[1 : 1 + axes])
    return flat


def _placed(values: Tensor, label: MetaTensor, image: Grid) -> MetaTensor:
    """The values with the geometry of the image."""
    meta = dict(label.meta)
    meta.update(affine=torch.as_tensor(image.affine), original_affine=image.affine, spatial_shape=np.array(image.size))
    return MetaTensor(values.contiguous(), meta=meta)


def _times(numbers: Sequence[float]) -> str:
    return "x".join(f"{n:g}" for n in numbers)
