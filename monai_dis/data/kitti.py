"""KITTI semantics: street scenes, vehicles and the rest (H. Alhaija et al., 2018, doi 10.1007/s11263-018-1070-x)."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Case, Dataset
from monai_dis.data.layout import SIMPLE_LAYOUT, existing_folder, has_simple_layout, layout_error, read_simple, stems
from monai_dis.data.splits import split_cases

__all__ = ["read_kitti"]

_OFFICIAL = (
    "training/image_2/000000_10.png with training/semantic/000000_10.png (official download, data_semantics.zip)"
)


def read_kitti(folder: str | Path) -> Dataset:
    """Read the 200 training scenes of KITTI semantics from the official download or from the simple layout.

    The official labels keep their ids in the files; the label rule ``"vehicles"`` makes the ids 26 to 31 (car, truck,
    bus, caravan, trailer, train) class 1. The simple layout holds class indices, 0 and 1, as everywhere. KITTI's own
    test scenes have no labels and are not read. The split is a seeded quarter.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "KITTI semantics")
    if has_simple_layout(root):
        cases = read_simple(root, "kitti")
    else:
        cases = _official(root) or _official(root / "data_semantics")
    if not cases:
        raise layout_error(root, "KITTI semantics", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("kitti", cases, train, val, ("background", "vehicle"))


def _official(root: Path) -> tuple[Case, ...]:
    images, labels = root / "training" / "image_2", root / "training" / "semantic"
    if not (images.is_dir() and labels.is_dir()):
        return ()
    by_name, truth = stems(images), stems(labels)
    return tuple(
        Case(name, by_name[name], truth[name], "kitti", "vehicles") for name in sorted(by_name) if name in truth
    )
