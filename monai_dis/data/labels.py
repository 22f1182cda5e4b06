"""Label files: from the numbers that a data set stores to class indices, or to one mask for each overlapping class.

Letters in shapes: ``C`` overlapping classes, without a background; ``*spatial`` the image's axes.
"""

from __future__ import annotations

from collections import Counter
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

__all__ = ["LabelRule", "LoadLabeld", "read_label", "read_masks"]

_VEHICLES = (26, 31)  # car, truck, bus, caravan, trailer, train; 255 in a file is id -1, a licence plate
_MOST_CLASSES = 256


class LabelRule(str, Enum):
    """How the values of a label file become class indices.

    Attributes:
        INDEX: they are class indices already (a palette's entries count, not its colours); 0 and 255 only are read as
            0 and 1.
        NONZERO: everything that is not black or zero is class 1.
        MASK: a palette's entries count, not its colours, and of several channels the first (red); not zero is class 1.
        VEHICLES: label ids of KITTI and Cityscapes; 26 to 31 are class 1.
    """

    INDEX = "index"
    NONZERO = "nonzero"
    MASK = "mask"
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
    if rule in (LabelRule.NONZERO, LabelRule.MASK):
        classes = values > 0
    elif rule is LabelRule.VEHICLES:
        classes = (values >= _VEHICLES[0]) & (values <= _VEHICLES[1])
    else:
        classes = _checked_indices(values, path, num_classes)
    return classes.to(torch.uint8)  # type: ignore[return-value]


def read_masks(
    files: Mapping[str, str | Path | None], rule: LabelRule | str = LabelRule.MASK, *, like: MetaTensor | None = None
) -> MetaTensor:
    """Read the masks of classes that may overlap.

    Args:
        files: the file of each class by its name; None for a class that the image lacks. A file of one class is its
            mask. A file that several classes share holds class indices, counted from 1 in the order of all ``files``.
        rule: what the stored values mean; a shared file holds indices whatever the rule.
        like: ``(C, *spatial)``, an image of the same grid, for the case that no class has a file.

    Returns:
        ``(C, *spatial)`` uint8, 0 and 1, a channel for each class in the order of ``files``.

    Raises:
        ImageError: when a file cannot be read.
        DataError: when there is no class, values are no class indices, files differ in size, or there is neither a file
            nor an image to tell the size from.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.new("L", (4, 3), 1).save(file)
        >>> masks = read_masks({"exudate": file, "haemorrhage": None})
        >>> tuple(masks.shape), masks.sum(dim=(1, 2)).tolist()
        ((2, 4, 3), [12, 0])
    """
    sharing = Counter(path for path in files.values() if path is not None)
    labels = {
        path: read_label(path, LabelRule.INDEX, num_classes=len(files) + 1)
        if users > 1
        else read_label(path, rule, num_classes=2)
        for path, users in sharing.items()
    }
    if not files or not (labels or like is not None):
        raise DataError(
            f"the label has no mask file for any of {', '.join(files) or 'no classes'}; name one, or read the image first."
        )
    first = next(iter(labels.values()), like)
    assert first is not None
    for path, label in labels.items():
        _check_size(label, first, path, "another mask of it")
    masks = torch.zeros((len(files), *_size(first)), dtype=torch.uint8)
    for channel, file in enumerate(files.values()):
        if file is not None:
            own = labels[file].as_tensor()[0]
            masks[channel] = own == channel + 1 if sharing[file] > 1 else own
    return MetaTensor(masks, meta=first.meta)


class LoadLabeld(MapTransform):
    """Dictionary transform: replace label paths by labels, by each case's ``rule``.

    A path becomes class indices (:func:`read_label`). A mapping from class names to mask files, of classes that may
    overlap, becomes a channel for each class (:func:`read_masks`).

    Args:
        keys: keys of the label paths.
        num_classes: number of classes with the background, overlapping ones too; None for no check.
        image_key: where the case's image lies, whose file must be of the same size; it is not compared when absent.
        rule_key: where the case's label rule lies; ``"index"`` when absent.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        image_key: str = "image",
        rule_key: str = "rule",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.num_classes = num_classes
        self.image_key = image_key
        self.rule_key = rule_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with labels ``(1, *spatial)`` or, of overlapping classes, ``(C, *spatial)`` uint8.

        Raises:
            ImageError: when a label cannot be read.
            DataError: when its values are no class indices, or it is not of its image's size.
        """
        result = dict(data)
        image = result.get(self.image_key)
        for key in self.key_iterator(result):
            source, rule = result[key], result.get(self.rule_key, LabelRule.INDEX)
            if isinstance(source, Mapping):
                label = self._masks(source, rule, image)
                named = next((path for path in source.values() if path is not None), "without files")
            else:
                label, named = read_label(source, rule, num_classes=self.num_classes), source
            if isinstance(image, MetaTensor):
                _check_size(label, image, named)
            result[key] = label
        return result

    def _masks(self, files: Mapping[str, str | Path | None], rule: LabelRule | str, image: Any) -> MetaTensor:
        if self.num_classes is not None and len(files) >= self.num_classes:
            raise DataError(
                f"the label has the {len(files)} classes {', '.join(files)}, the network knows {self.num_classes - 1}; "
                "choose another bundle or name fewer classes."
            )
        if not any(files.values()) and isinstance(image, (str, Path)):
            image = read_image(image)  # nothing else tells the size of a label without lesions
        return read_masks(files, rule, like=image if isinstance(image, MetaTensor) else None)


def _label_pixels(picture: Image.Image, rule: LabelRule) -> Image.Image:
    picture = without_alpha(picture)
    if rule is LabelRule.MASK:
        return picture if len(picture.getbands()) == 1 else picture.getchannel(0)
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


def _check_size(label: MetaTensor, image: MetaTensor, path: str | Path, what: str = "its image") -> None:
    size = _size(image)
    if size != list(label.shape[1:]):
        raise DataError(
            f"the label {path} is {'x'.join(map(str, label.shape[1:]))} pixels, {what} {'x'.join(map(str, size))}; "
            "they must cover each other."
        )


def _size(image: MetaTensor) -> list[int]:
    # `spatial_shape` is the size in the image's file, whatever was done to the image since.
    return [int(n) for n in image.meta.get("spatial_shape", image.shape[1:])]
