"""HRF: fundus photographs of high resolution with retinal vessels (A. Budai et al., 2013, doi 10.1155/2013/154860)."""

from __future__ import annotations

from pathlib import Path

from monai_dis.data.cases import Case, Dataset
from monai_dis.data.layout import (
    SIMPLE_LAYOUT,
    existing_folder,
    has_simple_layout,
    layout_error,
    read_simple,
    stems,
    with_subfolders,
)
from monai_dis.data.splits import split_cases

__all__ = ["read_hrf"]

_OFFICIAL = "images/01_h.jpg with manual1/01_h.tif (official download, unpacked)"


def read_hrf(folder: str | Path) -> Dataset:
    """Read HRF from its official download (``images``, ``manual1``, ``mask``) or from the simple layout.

    Names end in ``_h`` (healthy), ``_dr`` (diabetic retinopathy) or ``_g`` (glaucoma). The field of view goes along as
    ``extra["fov"]``. There is no official split, see :mod:`monai_dis.data.splits`.

    Raises:
        DataError: when the folder is missing or has another layout.
    """
    root = existing_folder(folder, "HRF")
    if has_simple_layout(root):
        cases = read_simple(root, "hrf", label_rule="nonzero")
    else:
        cases = next((found for home in with_subfolders(root) if (found := _official(home))), ())
    if not any(case.label for case in cases):
        raise layout_error(root, "HRF", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    return Dataset("hrf", cases, train, val, ("background", "vessel"))


def _official(home: Path) -> tuple[Case, ...]:
    if not ((home / "images").is_dir() and (home / "manual1").is_dir()):
        return ()
    images, labels = stems(home / "images"), stems(home / "manual1")
    fov = stems(home / "mask") if (home / "mask").is_dir() else {}
    return tuple(
        Case(
            name,
            images[name],
            labels.get(name),
            "hrf",
            "nonzero",
            extra={"fov": fov[f"{name}_mask"]} if f"{name}_mask" in fov else {},
        )
        for name in sorted(images)
    )
