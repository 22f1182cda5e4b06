"""The simple layout, ``images/`` beside ``masks/`` or ``labels/``, and what a folder error says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monai_dis.data.cases import Case
from monai_dis.data.image_files import image_stem, list_images
from monai_dis.errors import DataError

__all__ = [
    "SIMPLE_LAYOUT",
    "existing_folder",
    "has_simple_layout",
    "layout_error",
    "read_simple",
    "stems",
    "with_subfolders",
]

SIMPLE_LAYOUT = "images/NAME.jpg with masks/NAME.png or labels/NAME.png"
_LABEL_FOLDERS = ("masks", "labels")
_LISTED = 8


def existing_folder(folder: str | Path, what: str) -> Path:
    """``folder`` as a path.

    Raises:
        DataError: when it is missing or a file.
    """
    path = Path(folder).expanduser()
    if not path.exists():
        raise DataError(f"the data folder {path} does not exist; give the folder that holds {what}.")
    if not path.is_dir():
        raise DataError(f"{path} is a file; give the folder that holds {what} (unpack an archive first).")
    return path


def layout_error(folder: Path, what: str, *expected: str) -> DataError:
    """The error for a folder of another layout: what was expected, and what is there instead."""
    entries = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir() if not p.name.startswith("."))
    shown = ", ".join(entries[:_LISTED]) + (f" and {len(entries) - _LISTED} more" if len(entries) > _LISTED else "")
    return DataError(
        f"{folder} does not look like {what}: expected {'; or '.join(expected)}; found {shown or 'nothing'}."
    )


def has_simple_layout(folder: Path) -> bool:
    """Whether the folder has ``images/`` and a folder of labels."""
    return (folder / "images").is_dir() and any((folder / name).is_dir() for name in _LABEL_FOLDERS)


def read_simple(
    folder: Path, dataset: str, *, label_rule: str = "index", group_of: Callable[[str], str] = lambda stem: ""
) -> tuple[Case, ...]:
    """Pair images and labels of the simple layout by stem; files of a folder ``fov`` go along as ``extra``.

    Args:
        folder: the folder, see :func:`has_simple_layout`.
        dataset: name of the set.
        label_rule: see :class:`Case`.
        group_of: group of a stem.

    Raises:
        DataError: when it is empty, an image or a label has no partner, or two files share a stem.
    """
    present = [name for name in _LABEL_FOLDERS if (folder / name).is_dir()]
    if len(present) > 1:
        raise DataError(
            f"{folder} has both masks/ and labels/; keep one of them, so that it is clear which holds the labels."
        )
    images, labels = stems(folder / "images"), stems(folder / present[0])
    if not images:
        raise DataError(f"{folder / 'images'} holds no images; put the images there, or give another folder.")
    _check_partners(images, labels, folder / present[0])
    _check_partners(labels, images, folder / "images")
    fov = stems(folder / "fov") if (folder / "fov").is_dir() else {}
    return tuple(
        Case(
            stem,
            images[stem],
            labels[stem],
            dataset,
            label_rule,
            group_of(stem),
            {"fov": fov[stem]} if stem in fov else {},
        )
        for stem in sorted(images)
    )


def stems(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem.

    Raises:
        DataError: when two files share a stem.
    """
    found: dict[str, Path] = {}
    for path in list_images(folder):
        stem = image_stem(path)
        if stem in found:
            raise DataError(
                f"{found[stem].name} and {path.name} in {folder} have the same name; keep one or rename one."
            )
        found[stem] = path
    return found


def with_subfolders(folder: Path) -> list[Path]:
    """The folder and its direct subfolders, since archives are unpacked both with and without one."""
    return [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))]


def _check_partners(files: dict[str, Path], partners: dict[str, Path], folder: Path) -> None:
    alone = sorted({*files} - {*partners})
    if alone:
        file = files[alone[0]]
        raise DataError(
            f"{len(alone)} of {len(files)} files in {file.parent} have no partner of the same name in {folder} "
            f"(first: {file.name}); add the missing files or take these out."
        )
