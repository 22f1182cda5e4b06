"""Bring fundus photographs to one scale: that of the field of view, not of the frame.

Letters in shapes: ``C`` channels, ``*spatial`` two axes.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Resize
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.spatial.functional import resize
from monai.transforms.transform import MapTransform
from monai.utils import TraceKeys
from torch import Tensor

from monai_dis.errors import DataError
from monai_dis.transforms.field_of_view import find_field_of_view

__all__ = ["ScaleFieldOfView", "ScaleFieldOfViewd"]

logger = logging.getLogger(__name__)

#: A photograph within this share of the scale stays as it is: resampling would blur it, and networks are trained on wider changes.
_NEAR = 0.02


class ScaleFieldOfView(InvertibleTransform):
    """Resample a photograph so that the diameter of its round field of view is a stated number of pixels.

    A network has one scale, and a camera's field of view is about the same part of the retina whatever the number of its pixels
    and however the frame cuts it. A photograph without a visible field of view is taken for one that fills the frame: its longer
    side counts as the diameter, and a warning says so. Averaged where it shrinks, linear where it grows, untouched within 2 % of the
    scale; MONAI's ``Invertd`` leads back.

    Args:
        diameter: of the field of view after it, in pixels.

    Raises:
        DataError: when the diameter is not above 0.

    Example:
        >>> ScaleFieldOfView(diameter=50)(torch.rand(3, 100, 60)).shape  # without a field of view
        torch.Size([3, 50, 30])
    """

    def __init__(self, diameter: float) -> None:
        if not diameter > 0:
            raise DataError(f"the diameter of a field of view must be above 0 pixels, got {diameter}.")
        self.diameter = float(diameter)

    def __call__(self, img: Tensor, source: Tensor | None = None, mode: str | None = None) -> Tensor:
        """Resample an image, (C, *spatial).

        Args:
            img: a photograph, or a map on its grid such as a label.
            source: where the field of view is to be seen; the image itself when not given.
            mode: interpolation as for MONAI's ``Resize``; by the direction when not given.

        Raises:
            DataError: when it has not two spatial axes, or another grid than the source.
        """
        seen = img if source is None else source
        if img.ndim != 3 or img.shape[1:] != seen.shape[1:]:
            raise DataError(
                f"a photograph and its label have a shape of (channels, columns, rows) with the same columns and rows, got "
                f"{tuple(img.shape)} and {tuple(seen.shape)}."
            )
        return self._scaled(img, self.diameter / _diameter(seen), mode)

    def _scaled(self, img: Tensor, factor: float, mode: str | None) -> Tensor:
        factor = 1.0 if abs(factor - 1) <= _NEAR else factor
        mode = mode or ("area" if factor < 1 else "bilinear")
        size = tuple(max(1, round(n * factor)) for n in img.shape[1:])
        info = self.get_transform_info()
        scaled = resize(img, size, mode, None, torch.float32, 2, False, None, False, info)  # type: ignore[no-untyped-call]
        assert isinstance(scaled, Tensor)
        return scaled

    def inverse(self, data: Tensor) -> Tensor:
        """Back to the grid that an image came from."""
        done = self.pop_transform(data)
        mode = done[TraceKeys.EXTRA_INFO]["mode"]
        # an average over what is now smaller would be a copy of single pixels
        back = Resize(done[TraceKeys.ORIG_SIZE], mode="bilinear" if mode == "area" else mode)
        with back.trace_transform(False):
            return back(data)


class ScaleFieldOfViewd(MapTransform, InvertibleTransform):
    """Dictionary version of `ScaleFieldOfView`: the circle is sought once, and all keys follow.

    Args:
        keys: keys to resample, on one grid.
        diameter: of the field of view after it, in pixels.
        source_key: where the field of view is to be seen.
        mode: interpolation of each key, None for that by direction; ``"nearest-exact"`` for labels.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        diameter: float,
        source_key: str = "image",
        mode: str | list[str | None] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.source_key = source_key
        self.modes = tuple(mode) if isinstance(mode, (list, tuple)) else (mode,) * len(self.keys)
        if len(self.modes) != len(self.keys):
            raise DataError(f"{len(self.modes)} modes do not fit {len(self.keys)} keys; give one for each.")
        self.scaler = ScaleFieldOfView(diameter)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with its keys resampled.

        Raises:
            DataError: see `ScaleFieldOfView`.
        """
        item = dict(data)
        source = item[self.source_key]
        for key, mode in self.key_iterator(item, self.modes):
            item[key] = self.scaler(item[key], source, mode)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with its keys back on the grid that they came from."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.scaler.inverse(item[key])
        return item


def _diameter(image: Tensor) -> float:
    found = find_field_of_view(image)
    if found is not None:
        return found.diameter
    longer = float(max(image.shape[1:]))
    meta = image.meta if isinstance(image, MetaTensor) else {}
    logger.warning(
        "%s shows no round field of view with a dark border; its longer side of %d pixels is taken for the diameter.",
        meta.get("filename_or_obj", "the image"),
        longer,
    )
    return longer
