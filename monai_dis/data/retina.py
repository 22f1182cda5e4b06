"""RETINA: DRIVE, STARE and CHASE_DB1 together, as the poster has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from monai_dis.data.cases import Dataset
from monai_dis.data.chase_db1 import read_chase_db1
from monai_dis.data.drive import read_drive
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple
from monai_dis.data.splits import split_cases
from monai_dis.data.stare import read_stare
from monai_dis.errors import DataError

__all__ = ["read_retina"]

_READERS: Mapping[str, Callable[[Path], Dataset]] = {
    "drive": read_drive,
    "stare": read_stare,
    "chase_db1": read_chase_db1,
}
_FOLDERS = {"drive": "drive", "stare": "stare", "chasedb1": "chase_db1", "chase": "chase_db1"}
_EXPECTED = "the folders DRIVE, STARE and CHASE_DB1, each as downloaded or in the simple layout"


def read_retina(folder: str | Path) -> Dataset:
    """Read the three sets from a folder that holds ``DRIVE``, ``STARE`` and ``CHASE_DB1`` (upper or lower case).

    Names are those of the sets with the set before them, such as ``drive_21_training``; each set keeps its own split.
    A folder of the simple layout is read too, as a collection of fundus photographs of one's own.

    Raises:
        DataError: when a set is missing or has another layout.
    """
    root = existing_folder(folder, "DRIVE, STARE and CHASE_DB1")
    if has_simple_layout(root):
        cases = read_simple(root, "retina", label_rule="nonzero")
        train, val = split_cases(cases, root)
        return Dataset("retina", cases, train, val, ("background", "vessel"))
    homes = {_FOLDERS[key]: p for p in sorted(root.iterdir()) if p.is_dir() and (key := _plain(p.name)) in _FOLDERS}
    if not homes:
        raise layout_error(root, "RETINA", _EXPECTED, SIMPLE_LAYOUT)
    missing = [name for name in _READERS if name not in homes]
    if missing:
        raise DataError(
            f"{root} lacks {' and '.join(name.upper() for name in missing)}: RETINA is {_EXPECTED}; "
            f"add what is missing, or read {' and '.join(homes)} alone by that name."
        )
    return _join([reader(homes[name]) for name, reader in _READERS.items()])


def _join(parts: list[Dataset]) -> Dataset:
    cases = sorted(
        (replace(case, name=f"{part.name}_{case.name}") for part in parts for case in part.cases), key=lambda c: c.name
    )
    train = tuple(f"{part.name}_{name}" for part in parts for name in part.train)
    val = tuple(f"{part.name}_{name}" for part in parts for name in part.val)
    return Dataset("retina", tuple(cases), train, val, ("background", "vessel"))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
