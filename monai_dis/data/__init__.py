"""Data sets with their splits, and reading and writing of images.

Names are loaded when they are first used: data sets can be listed without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Case": "cases",
    "DATASETS": "registry",
    "Dataset": "cases",
    "IMAGE_SUFFIXES": "image_files",
    "GeometryPolicy": "label_geometry",
    "LabelRule": "label_values",
    "LoadLabeld": "labels",
    "PictureReader": "pictures",
    "ReadImaged": "images",
    "WriteSegmentationd": "writing",
    "atomic_path": "atomic",
    "check_channels": "images",
    "check_labels": "label_check",
    "check_readable": "images",
    "image_stem": "image_files",
    "image_suffix": "image_files",
    "labelled_dataset": "label_check",
    "list_images": "image_files",
    "read_dataset": "registry",
    "read_image": "images",
    "read_label": "labels",
    "read_masks": "labels",
    "segmentation_suffix": "image_files",
    "write_segmentation": "writing",
}

__all__ = [
    "Case",
    "DATASETS",
    "Dataset",
    "IMAGE_SUFFIXES",
    "GeometryPolicy",
    "LabelRule",
    "LoadLabeld",
    "PictureReader",
    "ReadImaged",
    "WriteSegmentationd",
    "atomic_path",
    "check_channels",
    "check_labels",
    "check_readable",
    "image_stem",
    "image_suffix",
    "labelled_dataset",
    "list_images",
    "read_dataset",
    "read_image",
    "read_label",
    "read_masks",
    "segmentation_suffix",
    "write_segmentation",
]

if TYPE_CHECKING:
    from monai_dis.data.atomic import atomic_path
    from monai_dis.data.cases import Case, Dataset
    from monai_dis.data.image_files import IMAGE_SUFFIXES, image_stem, image_suffix, list_images, segmentation_suffix
    from monai_dis.data.images import ReadImaged, check_channels, check_readable, read_image
    from monai_dis.data.label_check import check_labels, labelled_dataset
    from monai_dis.data.label_geometry import GeometryPolicy
    from monai_dis.data.label_values import LabelRule
    from monai_dis.data.labels import LoadLabeld, read_label, read_masks
    from monai_dis.data.pictures import PictureReader
    from monai_dis.data.registry import DATASETS, read_dataset
    from monai_dis.data.writing import WriteSegmentationd, write_segmentation


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"monai_dis.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
