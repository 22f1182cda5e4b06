"""Label files as class indices, or as one mask for each overlapping class, on the voxels of their image.

The one reader of labels, for training, evaluation and the label server: what numbers mean is
:mod:`monai_dis.data.label_values`, where they lie is :mod:`monai_dis.data.label_geometry`.

Letters in shapes: ``C`` overlapping classes, without a background; ``*spatial`` the image's axes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from monai_dis.data.grid import Grid
from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix
from monai_dis.data.images import check_readable, read_image, read_with
from monai_dis.data.label_geometry import GeometryPolicy, on_image_grid
from monai_dis.data.label_pixels import label_pixels
from monai_dis.data.label_values import LabelRule, class_indices, cut_jpeg, read_label_map
from monai_dis.data.pictures import PictureReader
from monai_dis.errors import DataError

__all__ = ["LoadLabeld", "read_label", "read_masks"]

_JPEG = (".jpg", ".jpeg")


def read_label(
    path: str | Path,
    rule: LabelRule | str = LabelRule.INDEX,
    *,
    num_classes: int | None = None,
    label_map: Mapping[int, int] | None = None,
    like: MetaTensor | Grid | None = None,
    geometry: GeometryPolicy | str = GeometryPolicy.REJECT,
) -> MetaTensor:
    """Read a label file as class indices.

    Args:
        path: PNG, GIF, BMP, TIFF, PPM, JPEG, NIfTI, NRRD or MetaImage.
        rule: what the stored numbers mean.
        num_classes: number of classes with the background, which no index may reach; None for no check.
        label_map: the class of each number, in place of the rule.
        like: the image, ``(C, *spatial)``, or the grid of its file; None to leave the label as it lies in its own.
        geometry: what is done about a label that lies elsewhere than its image.

    Returns:
        ``(1, *spatial)`` uint8, on the voxels of the image's file where there is one.

    Raises:
        ImageError: when the file cannot be read.
        DataError: when its numbers are no classes, or it does not lie on its image.
    """
    rule, path = LabelRule(rule), check_readable(path)
    values = _numbers(path, rule)
    if like is not None:  # before numbers become classes: a label in the wrong place is the wrong label
        values = on_image_grid(values, like if isinstance(like, Grid) else Grid.of(like), path, geometry)
    classes = class_indices(values.as_tensor(), path, rule, num_classes=num_classes, label_map=label_map)
    return MetaTensor(classes, meta=values.meta)


def read_masks(
    files: Mapping[str, str | Path | None],
    rule: LabelRule | str = LabelRule.MASK,
    *,
    label_map: Mapping[int, int] | None = None,
    like: MetaTensor | Grid | None = None,
    geometry: GeometryPolicy | str = GeometryPolicy.REJECT,
) -> MetaTensor:
    """Read the masks of classes that may overlap.

    Args:
        files: the file of each class by its name; None for a class that the image lacks. A file of one class is its
            mask. A file that several classes share holds class indices, counted from 1 in the order of all ``files``.
        rule: what the stored numbers mean; a shared file holds indices whatever the rule.
        label_map: the class of each number of a shared file.
        like: the image, ``(C, *spatial)``, or the grid of its file; needed where no class has a file.
        geometry: what is done about a mask that lies elsewhere than the image.

    Returns:
        ``(C, *spatial)`` uint8, 0 and 1, a channel for each class in the order of ``files``.

    Raises:
        ImageError: when a file cannot be read.
        DataError: when there is no class, numbers are no classes, files do not lie on each other, or there is neither a
            file nor an image to tell the size from.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.new("L", (4, 3), 1).save(file)
        >>> masks = read_masks({"exudate": file, "haemorrhage": None})
        >>> tuple(masks.shape), masks.sum(dim=(1, 2)).tolist()
        ((2, 4, 3), [12, 0])
    """
    sharing = Counter(path for path in files.values() if path is not None)
    if not files or not (sharing or like is not None):
        raise DataError(
            f"the label has no mask file for any of {', '.join(files) or 'no classes'}; name one, or read the image first."
        )
    labels: dict[str | Path, MetaTensor] = {}
    for path, users in sharing.items():
        # Without the image the first mask says where the others must lie.
        grid = like if like is not None else next(iter(labels.values()), None)
        shared = {"rule": LabelRule.INDEX, "num_classes": len(files) + 1, "label_map": label_map}
        how = shared if users > 1 else {"rule": rule, "num_classes": 2}
        labels[path] = read_label(path, **how, like=grid, geometry=geometry)  # type: ignore[arg-type]
    size = next((tuple(label.shape[1:]) for label in labels.values()), None)
    if size is None:
        assert like is not None
        size = (like if isinstance(like, Grid) else Grid.of(like)).size
    masks = torch.zeros((len(files), *size), dtype=torch.uint8)
    for channel, file in enumerate(files.values()):
        if file is not None:
            own = labels[file].as_tensor()[0]
            masks[channel] = own == channel + 1 if sharing[file] > 1 else own
    meta = next((label.meta for label in labels.values()), like.meta if isinstance(like, MetaTensor) else {})
    return MetaTensor(masks, meta=meta)


class LoadLabeld(MapTransform):
    """Dictionary transform: replace label paths by labels, by each case's ``rule``.

    A path becomes class indices (:func:`read_label`). A mapping from class names to mask files, of classes that may
    overlap, becomes a channel for each class (:func:`read_masks`).

    Args:
        keys: keys of the label paths.
        num_classes: number of classes with the background, overlapping ones too; None for no check.
        image_key: where the case's image lies, read or as a path, on whose voxels the label is brought; where it is
            absent the label stays as it lies in its own file.
        rule_key: where the case's label rule lies; ``"index"`` when absent.
        allow_missing_keys: as in MONAI.
        label_map: the class of each number in the files, in place of the rule; its keys may be text.
        geometry: ``"reject"`` or ``"warn"``, see :class:`monai_dis.data.label_geometry.GeometryPolicy`.

    Raises:
        DataError: when the map or the policy cannot be understood.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        image_key: str = "image",
        rule_key: str = "rule",
        allow_missing_keys: bool = False,
        *,
        label_map: Mapping[Any, Any] | None = None,
        geometry: GeometryPolicy | str = GeometryPolicy.REJECT,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if geometry not in [policy.value for policy in GeometryPolicy]:
            raise DataError(f"label_geometry is {geometry!r}; give reject or warn.")
        self.num_classes = num_classes
        self.image_key = image_key
        self.rule_key = rule_key
        self.label_map = read_label_map(label_map)
        self.geometry = GeometryPolicy(geometry)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with labels ``(1, *spatial)`` or, of overlapping classes, ``(C, *spatial)`` uint8.

        Raises:
            ImageError: when a label, or an image given as a path, cannot be read.
            DataError: when its numbers are no classes, or it does not lie on its image.
        """
        result = dict(data)
        grid = _grid(result.get(self.image_key))
        how: dict[str, Any] = {"label_map": self.label_map, "like": grid, "geometry": self.geometry}
        for key in self.key_iterator(result):
            source, rule = result[key], result.get(self.rule_key, LabelRule.INDEX)
            if isinstance(source, Mapping):
                self._check_count(source)
                result[key] = read_masks(source, rule, **how)
            else:
                result[key] = read_label(source, rule, num_classes=self.num_classes, **how)
        return result

    def for_classes(self, num_classes: int | None) -> LoadLabeld:
        """The same reader for another number of classes."""
        other = copy(self)
        other.num_classes = num_classes
        return other

    def _check_count(self, files: Mapping[str, str | Path | None]) -> None:
        if self.num_classes is not None and len(files) >= self.num_classes:
            raise DataError(
                f"the label has the {len(files)} classes {', '.join(files)}, the network knows {self.num_classes - 1}; "
                "choose another bundle or name fewer classes."
            )


def _grid(image: Any) -> Grid | None:
    if isinstance(image, MetaTensor):
        return Grid.of(image)
    return Grid.read(image) if isinstance(image, (str, Path)) else None


def _numbers(path: Path, rule: LabelRule) -> MetaTensor:
    """The numbers of a label file, ``(1, *spatial)`` float32."""
    if image_suffix(path) not in PICTURE_SUFFIXES:
        return _one_channel(read_image(path), path)
    picture = read_with(path, PictureReader(partial(label_pixels, rule=rule)))
    if image_suffix(path) in _JPEG:
        return MetaTensor(cut_jpeg(picture.as_tensor(), path), meta=picture.meta)
    return _one_channel(picture, path)


def _one_channel(raw: MetaTensor, path: Path) -> MetaTensor:
    values = raw.as_tensor()
    if len(values) > 1 and bool((values != values[:1]).any()):
        raise DataError(
            f"{path} is in colour, a label holds one class index per pixel (0 background, 1, 2, ...); convert it."
        )
    return MetaTensor(values[:1], meta=raw.meta)
