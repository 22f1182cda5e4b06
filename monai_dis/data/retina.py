"""RETINA: DRIVE, STARE and CHASE_DB1 together, as the poster has it; and with HRF, for vessels at every resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from monai_dis.data.cases import Dataset
from monai_dis.data.chase_db1 import read_chase_db1
from monai_dis.data.drive import read_drive
from monai_dis.data.hrf import read_hrf
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple
from monai_dis.data.splits import split_cases
from monai_dis.data.stare import read_stare
from monai_dis.errors import DataError

__all__ = ["read_retina", "read_retina_hrf"]

_READERS: Mapping[str, Callable[[Path], Dataset]] = {
    "drive": read_drive,
    "stare": read_stare,
    "chase_db1": read_chase_db1,
}
_WITH_HRF: Mapping[str, Callable[[Path], Dataset]] = {**_READERS, "hrf": read_hrf}
_FOLDERS = {"drive": "drive", "stare": "stare", "chasedb1": "chase_db1", "chase": "chase_db1", "hrf": "hrf"}


def read_retina(folder: str | Path) -> Dataset:
    """Read the three sets from a folder that holds ``DRIVE``, ``STARE`` and ``CHASE_DB1`` (upper or lower case).

    Names are those of the sets with the set before them, such as ``drive_21_training``; each set keeps its own split.
    A folder of the simple layout is read too, as a collection of fundus photographs of one's own.

    Raises:
        DataError: when a set is missing or has another layout.
    """
    return _read(folder, "retina", _READERS)


def read_retina_hrf(folder: str | Path) -> Dataset:
    """Read the four sets as :func:`read_retina` reads three: photographs of 565 to 3504 columns.

    Raises:
        DataError: when a set is missing or has another layout.
    """
    return _read(folder, "retina_hrf", _WITH_HRF)


def _read(folder: str | Path, dataset: str, readers: Mapping[str, Callable[[Path], Dataset]]) -> Dataset:
    names = [name.upper() for name in readers]
    together = f"{', '.join(names[:-1])} and {names[-1]}"
    expected = f"the folders {together}, each as downloaded or in the simple layout"
    root = existing_folder(folder, together)
    if has_simple_layout(root):
        cases = read_simple(root, dataset, label_rule="nonzero")
        train, val = split_cases(cases, root)
        return Dataset(dataset, cases, train, val, ("background", "vessel"))
    homes = {_FOLDERS[key]: p for p in sorted(root.iterdir()) if p.is_dir() and (key := _plain(p.name)) in _FOLDERS}
    if not homes:
        raise layout_error(root, dataset.upper(), expected, SIMPLE_LAYOUT)
    missing = [name for name in readers if name not in homes]
    if missing:
        raise DataError(
            f"{root} lacks {' and '.join(name.upper() for name in missing)}: {dataset.upper()} is {expected}; "
            f"add what is missing, or read {' and '.join(homes)} alone by that name."
        )
    return _join([reader(homes[name]) for name, reader in readers.items()], dataset)


def _join(parts: list[Dataset], dataset: str) -> Dataset:
    cases = sorted(
        (replace(case, name=f"{part.name}_{case.name}") for part in parts for case in part.cases), key=lambda c: c.name
    )
    train = tuple(f"{part.name}_{name}" for part in parts for name in part.train)
    val = tuple(f"{part.name}_{name}" for part in parts for name in part.val)
    return Dataset(dataset, tuple(cases), train, val, ("background", "vessel"))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
