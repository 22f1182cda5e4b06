"""PH2: dermoscopy images with lesion masks (T. Mendonca et al., 2013, doi 10.1109/EMBC.2013.6610779)."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Case, Dataset
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple
from monai_dis.data.splits import split_cases

__all__ = ["read_ph2"]

_IMAGES = "PH2 Dataset images"
_OFFICIAL = (
    f"{_IMAGES}/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp and .../IMD002_lesion/IMD002_lesion.bmp (official download)"
)


def read_ph2(folder: str | Path) -> Dataset:
    """Read PH2 from its official download (``PH2Dataset`` or the folder above it) or from the simple layout.

    There is no official split: without a ``splits.json``, see :mod:`monai_dis.data.splits`.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "PH2")
    if has_simple_layout(root):
        cases = read_simple(root, "ph2", label_rule="nonzero")
    else:
        cases = _official(root)
    if not cases:
        raise layout_error(root, "PH2", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("ph2", cases, train, val, ("skin", "lesion"))


def _official(root: Path) -> tuple[Case, ...]:
    for home in (root / "PH2Dataset" / _IMAGES, root / _IMAGES, root):
        found = []
        for folder in sorted(home.glob("IMD[0-9]*")):
            name = folder.name
            image, label = (
                folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp",
                folder / f"{name}_lesion" / f"{name}_lesion.bmp",
            )
            if image.is_file() and label.is_file():
                found.append(Case(name, image, label, "ph2", "nonzero"))
        if found:
            return tuple(found)
    return ()
