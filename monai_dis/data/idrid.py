"""IDRiD: fundus photographs with lesions of diabetic retinopathy (P. Porwal et al., 2018, doi 10.3390/data3030025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from monai_dis.errors import DataError

__all__ = ["IDRID_LESIONS", "read_idrid"]

#: The lesion types in the order of the label's channels, and of the indices 1 to 4 of the simple layout.
IDRID_LESIONS = ("microaneurysm", "haemorrhage", "hard exudate", "soft exudate")

_OPTIC_DISC = "optic disc"
_IMAGES, _TRUTH = "1. Original Images", "2. All Segmentation Groundtruths"
_TRAINING, _TESTING = "a. Training Set", "b. Testing Set"
_MASKS = {
    "microaneurysm": ("1. Microaneurysms", "_MA"),
    "haemorrhage": ("2. Haemorrhages", "_HE"),
    "hard exudate": ("3. Hard Exudates", "_EX"),
    "soft exudate": ("4. Soft Exudates", "_SE"),
    _OPTIC_DISC: ("5. Optic Disc", "_OD"),
}
_OFFICIAL = (
    f"{_IMAGES}/{_TRAINING}/IDRiD_01.jpg with {_TRUTH}/{_TRAINING}/1. Microaneurysms/IDRiD_01_MA.tif "
    "(official download, A. Segmentation)"
)


def read_idrid(folder: str | Path, *, optic_disc: bool = False) -> Dataset:
    """Read IDRiD from its official download (``A. Segmentation`` or the folder above it) or from the simple layout.

    The lesion types overlap: a label is a mask for each of :data:`IDRID_LESIONS`. In the official download a type
    without a file is absent from its image; the simple layout holds the indices 1 to 4 in that order.

    The official testing part, on which published figures are measured, is the part ``test`` and never trains. The
    training part is parted as every set is, see :mod:`monai_dis.data.splits`; a ``splits.json`` may name cases of both.

    Args:
        folder: where the data lie.
        optic_disc: the optic disc as a fifth class; in the official download only.

    Raises:
        DataError: when the folder is missing or has another layout, or lacks masks.
    """
    root = existing_folder(folder, "IDRiD")
    classes = (*IDRID_LESIONS, _OPTIC_DISC) if optic_disc else IDRID_LESIONS
    testing: tuple[Case, ...] = ()
    if has_simple_layout(root):
        if optic_disc:
            raise DataError(f"{root} holds no masks of the optic disc; give the official download: {_OFFICIAL}.")
        cases = tuple(_overlapping(case) for case in read_simple(root, "idrid"))
    else:
        home = next((home for home in with_subfolders(root) if (home / _IMAGES).is_dir()), root)
        cases, testing = _official(home, _TRAINING, classes), _official(home, _TESTING, classes)
    if not any(case.label for case in (*cases, *testing)):
        raise layout_error(root, "IDRiD", _OFFICIAL, SIMPLE_LAYOUT)
    train, val = split_cases(cases, root)
    test = tuple(case.name for case in testing if case.label and case.name not in {*train, *val})
    every = tuple(sorted((*cases, *testing), key=lambda case: case.name))
    return Dataset("idrid", every, train, val, ("background", *classes), test)


def _overlapping(case: Case) -> Case:
    assert isinstance(case.label, Path)
    return replace(case, label=dict.fromkeys(IDRID_LESIONS, case.label))


def _official(home: Path, part: str, classes: tuple[str, ...]) -> tuple[Case, ...]:
    folder, truth = home / _IMAGES / part, home / _TRUTH / part
    if not folder.is_dir():
        return ()
    images = stems(folder)
    if not truth.is_dir():
        return tuple(Case(name, images[name], None, "idrid", "mask") for name in sorted(images))
    masks = {name: _masks_of(name, truth, images) for name in classes}
    return tuple(
        Case(name, images[name], {lesion: masks[lesion].get(name) for lesion in classes}, "idrid", "mask")
        for name in sorted(images)
    )


def _masks_of(lesion: str, truth: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Mask files of a lesion type by the name of their image."""
    name, ending = _MASKS[lesion]
    folder = truth / name
    if not folder.is_dir():
        raise DataError(
            f"{truth} lacks the folder {name}: an image without a file in it has no {lesion}, but a missing folder says "
            "nothing; add it from the official download, or an empty one if no image has any."
        )
    masks = {stem.removesuffix(ending): path for stem, path in stems(folder).items() if stem.endswith(ending)}
    alone = sorted({*masks} - {*images})
    if alone:
        raise DataError(
            f"{len(alone)} of {len(masks)} masks in {folder} have no image (first: {masks[alone[0]].name}); "
            "add the missing images or take these out."
        )
    return masks
