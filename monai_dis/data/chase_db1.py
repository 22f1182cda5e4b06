"""CHASE_DB1: fundus photographs of school children (M. M. Fraz et al., 2012, doi 10.1109/TBME.2012.2205687)."""

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

__all__ = ["read_chase_db1"]

_OFFICIAL = "Image_01L.jpg and Image_01L_1stHO.png in one folder or in a subfolder each (official download)"


def read_chase_db1(folder: str | Path) -> Dataset:
    """Read CHASE_DB1 from its official download, flat or sorted into subfolders, or from the simple layout.

    The first observer's labels are taken. The two eyes of a child are one group, which no split or fold parts.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "CHASE_DB1")
    if has_simple_layout(root):
        cases = read_simple(root, "chase_db1", label_rule="nonzero", group_of=_child)
    else:
        cases = _official(root)
    if not cases:
        raise layout_error(root, "CHASE_DB1", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("chase_db1", cases, train, val, ("background", "vessel"))


def _official(root: Path) -> tuple[Case, ...]:
    homes = with_subfolders(root)
    images = {path.stem: path for home in reversed(homes) for path in home.glob("Image_[0-9][0-9][LR].jpg")}
    labels = {path.name: path for home in reversed(homes) for path in home.glob("Image_*_1stHO.png")}
    return tuple(
        Case(name, images[name], labels[f"{name}_1stHO.png"], "chase_db1", "nonzero", _child(name))
        for name in sorted(images)
        if f"{name}_1stHO.png" in labels
    )


def _child(name: str) -> str:
    """``Image_01L`` and ``Image_01R`` are the eyes of one child."""
    return name[:-1] if name[-1:] in ("L", "R") else name
