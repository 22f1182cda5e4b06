"""STARE: fundus photographs with retinal vessels (A. Hoover et al., 2000, doi 10.1109/42.845178)."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Case, Dataset
from monai_dis.data.layout import (
    SIMPLE_LAYOUT,
    existing_folder,
    has_simple_layout,
    layout_error,
    read_simple,
    with_subfolders,
)
from monai_dis.data.splits import split_cases

__all__ = ["read_stare"]

_OFFICIAL = "im0001.ppm.gz with im0001.ah.ppm.gz, in one folder or in a subfolder each (official download, unpacked)"


def read_stare(folder: str | Path) -> Dataset:
    """Read STARE from its official archives, unpacked, or from the simple layout.

    The labels are A. Hoover's (``ah``); images without such a label are passed over, since only 20 of the collection
    have one. Both ``.ppm.gz`` and unpacked ``.ppm`` files are read.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "STARE")
    cases = read_simple(root, "stare", label_rule="nonzero") if has_simple_layout(root) else _official(root)
    if not cases:
        raise layout_error(root, "STARE", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("stare", cases, train, val, ("background", "vessel"))


def _official(root: Path) -> tuple[Case, ...]:
    files = {
        path.name.lower(): path
        for home in reversed(with_subfolders(root))
        for path in home.glob("im*.ppm*")
        if path.is_file()
    }
    cases = []
    for name in sorted({file.split(".")[0] for file in files}):
        image = files.get(f"{name}.ppm.gz", files.get(f"{name}.ppm"))
        label = files.get(f"{name}.ah.ppm.gz", files.get(f"{name}.ah.ppm"))
        if image and label:
            cases.append(Case(name, image, label, "stare", "nonzero"))
    return tuple(cases)
