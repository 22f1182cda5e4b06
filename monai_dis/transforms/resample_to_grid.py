"""Bring an image to a level's grid exactly as inference does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms.transform import MapTransform

from monai_dis.inferers.grid import grid_size, resample

__all__ = ["ResampleToGridd"]


class ResampleToGridd(MapTransform):
    """Resample ``(C, *spatial)`` tensors to the grid of a level, ``ceil(spatial / scale)``, with the inferer's own anti-aliasing.

    Args:
        keys: keys of the tensors.
        scale: scale of the level; one number, or one per axis.
    """

    def __init__(
        self, keys: Sequence[str] | str, scale: float | Sequence[float], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the keys of an item."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            item[key] = resample(image[None], grid_size(tuple(image.shape[1:]), self.scale))[0]
        return item
