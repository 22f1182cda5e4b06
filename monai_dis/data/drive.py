"""DRIVE: fundus photographs with retinal vessels (J. Staal et al., 2004, doi 10.1109/TMI.2004.825627)."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Case, Dataset
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple
from monai_dis.data.splits import split_cases

__all__ = ["read_drive"]

_OFFICIAL = (
    "training/images/21_training.tif with training/1st_manual/21_manual1.gif and test/images/01_test.tif with "
    "test/1st_manual/01_manual1.gif (official download)"
)


def read_drive(folder: str | Path) -> Dataset:
    """Read DRIVE from its official download (``DRIVE`` or the folder above it) or from the simple layout.

    The first observer's labels are taken, and the field of view as ``extra["fov"]``. Newer downloads withhold the
    labels of the test part: those cases have no label and are in no part of the split. The official halves are not
    used as the split; without a ``splits.json``, see :mod:`monai_dis.data.splits`.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "DRIVE")
    if has_simple_layout(root):
        cases = read_simple(root, "drive", label_rule="nonzero")
    else:
        cases = _official(root / "DRIVE") or _official(root)
    if not any(case.label for case in cases):
        raise layout_error(root, "DRIVE", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("drive", cases, train, val, ("background", "vessel"))


def _official(root: Path) -> tuple[Case, ...]:
    cases = []
    for part in ("test", "training"):
        for image in sorted((root / part / "images").glob(f"[0-9][0-9]_{part}.tif")):
            label = root / part / "1st_manual" / f"{image.name[:2]}_manual1.gif"
            fov = root / part / "mask" / f"{image.stem}_mask.gif"
            extra = {"fov": fov} if fov.is_file() else {}
            cases.append(Case(image.stem, image, label if label.is_file() else None, "drive", "nonzero", extra=extra))
    return tuple(cases)
