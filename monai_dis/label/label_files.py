"""Label files that viewers hand in, on the voxels of their image."""

from __future__ import annotations

from pathlib import Path

from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import SpatialResample

from monai_dis.data.images import read_image
from monai_dis.errors import ImageError

__all__ = ["read_label"]


def read_label(path: Path, image: MetaTensor) -> MetaTensor:
    """Read class indices on the grid of an image.

    Args:
        path: the label's file.
        image: (C, *spatial) as read.

    Returns:
        (1, *spatial).

    Raises:
        ImageError: when the file cannot be read or has other axes.
    """
    label = read_image(path, expected_channels=1)
    if label.shape[1:] == image.shape[1:]:
        label.affine = image.affine  # of the same voxels; a viewer may have left out the geometry
        return label
    if label.ndim != image.ndim:
        raise ImageError("the label has other axes than the image; give one that was made on this image.")
    there = SpatialResample(mode="nearest", padding_mode="zeros")(
        label, dst_affine=image.affine, spatial_size=image.shape[1:]
    )
    assert isinstance(there, MetaTensor)
    return there
