"""Label files: from the numbers that a data set stores to class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from PIL import Image

from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix
from monai_dis.data.images import check_readable, read_image, read_with
from monai_dis.data.pictures import PictureReader, without_alpha
from monai_dis.errors import DataError

__all__ = ["LabelRule", "LoadLabeld", "read_label"]

_VEHICLES = (26, 31)  # car, truck, bus, caravan, trailer, train; 255 in a file is id -1, a licence plate
_MOST_CLASSES = 256


class LabelRule(str, Enum):
    """How the values of a label file become class indices.

    Attributes:
        INDEX: they are class indices already (a palette's entries count, not its colours); 0 and 255 only are read as
            0 and 1.
        NONZERO: everything that is not black or zero is class 1.
        VEHICLES: label ids of KITTI and Cityscapes; 26 to 31 are class 1.
    """

    INDEX = "index"
    NONZERO = "nonzero"
    VEHICLES = "vehicles"


def read_label(
    path: str | Path, rule: LabelRule | str = LabelRule.INDEX, *, num_classes: int | None = None
) -> MetaTensor:
    """Read a label file as class indices.

    Args:
        path: PNG, GIF, BMP, TIFF, PPM, NIfTI, NRRD or MetaImage.
        rule: what the stored values mean.
        num_classes: number of classes with the background, which no index may reach; None for no check.

    Returns:
        ``(1, *spatial)`` uint8 in the order of axes and with the geometry of :func:`monai_dis.data.read_image`.

    Raises:
        ImageError: when the file cannot be read.
        DataError: when its values are no class indices.
    """
    rule, path = LabelRule(rule), check_readable(path)
    if image_suffix(path) in PICTURE_SUFFIXES:
        raw = read_with(path, PictureReader(partial(_label_pixels, rule=rule)))
    else:
        raw = read_image(path)
    if raw.shape[0] > 1 and bool((raw != raw[:1]).any()):
        raise DataError(
            f"{path} is in colour, a label holds one class index per pixel (0 background, 1, 2, ...); convert it."
        )
    values = raw[:1]
    if rule is LabelRule.NONZERO:
        classes = values > 0
    elif rule is LabelRule.VEHICLES:
        classes = (values >= _VEHICLES[0]) & (values <= _VEHICLES[1])
    else:
        classes = _checked_indices(values, path, num_classes)
    return classes.to(torch.uint8)  # type: ignore[return-value]


class LoadLabeld(MapTransform):
    """Dictionary transform: replace label paths by class indices (:func:`read_label`), by each case's ``label_rule``.

    Args:
        keys: keys of the label paths.
        num_classes: number of classes with the background; None for no check.
        image_key: where the case's image lies, whose file must be of the same size; it is not compared when absent.
        rule_key: where the case's label rule lies; ``"index"`` when absent.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        image_key: str = "image",
        rule_key: str = "label_rule",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.num_classes = num_classes
        self.image_key = image_key
        self.rule_key = rule_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with labels ``(1, *spatial)`` uint8.

        Raises:
            ImageError: when a label cannot be read.
            DataError: when its values are no class indices, or it is not of its image's size.
        """
        result = dict(data)
        image = result.get(self.image_key)
        for key in self.key_iterator(result):
            path = result[key]
            label = read_label(path, result.get(self.rule_key, LabelRule.INDEX), num_classes=self.num_classes)
            if isinstance(image, MetaTensor):
                _check_size(label, image, path)
            result[key] = label
        return result


def _label_pixels(picture: Image.Image, rule: LabelRule) -> Image.Image:
    picture = without_alpha(picture)
    # Colours of a palette are looked up where black means background; elsewhere its entries are the classes.
    return picture.convert("L") if rule is LabelRule.NONZERO and picture.mode in ("1", "P", "RGB") else picture


def _checked_indices(values: torch.Tensor, path: Path, num_classes: int | None) -> torch.Tensor:
    present = torch.unique(values)
    if present.tolist() in ([0.0, 255.0], [255.0]):
        return values > 0
    if bool((present != present.round()).any()) or bool((present < 0).any()) or bool((present >= _MOST_CLASSES).any()):
        raise DataError(
            f"{path} holds values from {present.min():g} to {present.max():g}, "
            f"a label holds class indices 0, 1, 2, ... below {_MOST_CLASSES}; convert it."
        )
    if num_classes is not None and int(present.max()) >= num_classes:
        raise DataError(
            f"{path} holds class {int(present.max())}, the network knows 0 to {num_classes - 1}; convert the label."
        )
    return values


def _check_size(label: MetaTensor, image: MetaTensor, path: str | Path) -> None:
    # `spatial_shape` is the size in the image's file, whatever was done to the image since.
    size = [int(n) for n in image.meta.get("spatial_shape", label.shape[1:])]
    if size != list(label.shape[1:]):
        raise DataError(
            f"the label {path} is {'x'.join(map(str, label.shape[1:]))} pixels, its image {'x'.join(map(str, size))}; "
            "they must cover each other."
        )
