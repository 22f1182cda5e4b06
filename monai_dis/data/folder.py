"""A user's own data: ``images/`` beside ``masks/`` or ``labels/``, paired by name."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Dataset
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple
from monai_dis.data.splits import split_cases

__all__ = ["read_folder"]


def read_folder(folder: str | Path) -> Dataset:
    """Read ``images/`` and ``masks/`` or ``labels/``, partners of the same stem.

    Files are PNG, JPEG, TIFF, BMP, NIfTI, NRRD or MetaImage; an image and its label may be of different kinds.

    Labels hold class indices; masks of 0 and 255 only are read as 0 and 1. A ``splits.json``, ``{"train": [stems],
    "val": [stems]}``, decides on the split; without it a seeded quarter validates.

    Raises:
        DataError: when the folder is missing, empty or of another layout, an image or a label has no partner, or two
            files share a stem.
    """
    root = existing_folder(folder, "images/ and masks/ or labels/")
    if not has_simple_layout(root):
        raise layout_error(root, "a data folder", SIMPLE_LAYOUT)
    cases = read_simple(root, "folder")
    train, val = split_cases(cases, root)
    return Dataset("folder", cases, train, val)
