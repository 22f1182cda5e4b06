"""The folder that a run writes to: whether it can be written, what its files are called, what a killed run left."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from monai_dis.data.atomic import TEMPORARY_PREFIX
from monai_dis.data.image_files import IMAGE_SUFFIXES, image_stem, list_images
from monai_dis.engines.run_report import absolute
from monai_dis.errors import DataError, OutputError

__all__ = ["expand_inputs", "mask_name", "name_outputs", "prepare_folder", "remove_leftovers"]


def prepare_folder(folder: str | Path) -> Path:
    """Make an output folder and see that files can be written to it.

    Raises:
        OutputError: when it cannot be made or written; before any computation, not after.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"the output folder {folder} cannot be made: a file of that name is in the way.") from error
    except OSError as error:
        raise OutputError(
            f"the output folder {folder} cannot be written ({os.strerror(error.errno or 0)}); choose another one."
        ) from error
    return folder


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of a killed run."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def expand_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """Replace each folder by the images in it, sorted; files stay as they are, present or not.

    Raises:
        DataError: when nothing is given, or a folder holds no image.
    """
    files: list[Path] = []
    for entry in inputs:
        path = Path(entry)
        if not path.is_dir():
            files.append(path)
            continue
        found = list_images(path)
        if not found:
            raise DataError(f"the folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)}); give another one.")
        files.extend(found)
    if not files:
        raise DataError("there is nothing to segment: give one image file or folder at least.")
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(absolute(file), file)
    return list(once.values())


def name_outputs(
    files: Sequence[Path],
    taken: Mapping[Path, str],
    reserved: Collection[str] = (),
    stem_of: Callable[[Path], str] = image_stem,
) -> dict[Path, str]:
    """Give each image a stem of its own, so that no output overwrites another.

    Args:
        files: the images of this run.
        taken: stems that earlier runs gave to images, which keep them.
        reserved: stems of earlier results whose images are not part of this run.
        stem_of: name of a file without folder and suffix.

    Returns:
        a stem for each image: its own, or that with ``_2``, ``_3``... where the plain one is in use.
    """
    names = {file: taken[file] for file in files if file in taken}
    used = {*names.values(), *reserved}
    for file in files:
        if file in names:
            continue
        stem = stem_of(file)
        number, name = 1, stem
        while name in used:
            number += 1
            name = f"{stem}_{number}"
        names[file] = name
        used.add(name)
    return names


def mask_name(stem: str, index: int, label: str, suffix: str) -> str:
    """Name of the file of one of several overlapping classes.

    Example:
        >>> mask_name("fundus_seg", 2, "Hard exudates", ".png")
        'fundus_seg_2-hard-exudates.png'
    """
    word = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return f"{stem}_{index}-{word}{suffix}"
