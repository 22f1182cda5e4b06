"""The studies of an input: one, or those of a tree of many, each with its own files.

Folders are told apart by the study of the first file in each; the files are all read when a study is inspected, so that a folder
in which studies are mixed is refused then, and never split by a guess. Names of folders and files below the given one are not
shown anywhere: they often hold a person's name.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_dis.checks.limits import Limits
from monai_dis.dicom.instance import DIRECTORY_CLASS, is_dicom_file, read_instance
from monai_dis.dicom.sources import is_archive
from monai_dis.dicom.values import text

__all__ = ["StudyFiles", "find_studies"]


@dataclass(frozen=True)
class StudyFiles:
    """What is segmented as one.

    Attributes:
        given: the path that the user gave.
        paths: what is inspected: ``given`` itself, or files below it.
        uid: Study Instance UID, where it was read to tell studies apart.
        place: in the tree, in the order of names, from 1; 0 where ``given`` is the study.
    """

    given: Path
    paths: tuple[Path, ...] = field(repr=False)
    uid: str = ""
    place: int = 0

    @property
    def label(self) -> str:
        """What the study is called in messages and reports."""
        if not self.place:
            return self.given.name
        return f"study {self.place}{f' ({self.uid})' if self.uid else ''}"


def find_studies(
    given: Path, limits: Limits, *, leave_out: Path | None = None, others: Collection[Path] = ()
) -> list[StudyFiles]:
    """Find the studies of an input.

    A folder is one study unless its subfolders hold images of several, or archives. In a tree of several, a subfolder in which
    nothing is DICOM counts as a study too, so that it is refused rather than passed over.

    Args:
        given: file, archive or folder.
        limits: on sizes and depth.
        leave_out: a folder that is not looked into, such as that of the results.
        others: files that are no part of a DICOM study, such as volumes that are segmented by themselves.

    Returns:
        the studies in the order of their names.
    """
    if not given.is_dir():
        return [StudyFiles(given, (given,))]
    walked = dict(_walk(given, limits.depth, leave_out))
    folders = {folder: [file for file in files if file not in others] for folder, files in walked.items()}
    uids = {folder: _study_of(files, limits) for folder, files in folders.items()}
    media = any(path.name.upper() == "DICOMDIR" for path in folders.get(given, ()))
    groups: dict[str, list[Path]] = {}
    for folder, files in folders.items():
        uid = uids[folder]
        if uid is not None:
            # A file without a Study Instance UID is not of the same study as another one without.
            groups.setdefault(uid or f"folder {folder}", []).extend(files)
        elif not media:
            for file in files:
                if is_archive(file):
                    groups[f"file {file}"] = [file]
    if len(groups) < 2 and not any(key.startswith("file ") for key in groups):
        rest = tuple(sorted(file for files in folders.values() for file in files))
        return [StudyFiles(given, rest if others else (given,))]
    if not media:
        elsewhere = {file.relative_to(given).parts[0] for file in others}
        groups.update(
            {
                key: files
                for key, files in _without_images(given, folders, groups).items()
                if Path(key).name not in elsewhere
            }
        )
    ordered = sorted(groups.items(), key=lambda group: (min(group[1], default=Path(group[0])), group[0]))
    return [
        StudyFiles(given, tuple(sorted(files)), "" if " " in key else key, place)
        for place, (key, files) in enumerate(ordered, start=1)
    ]


def _walk(given: Path, depth: int, leave_out: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """Folders and the files in each; hidden ones are passed over, links to folders are not followed."""
    for parent, folders, names in os.walk(given):
        here = Path(parent)
        if len(here.relative_to(given).parts) > depth:
            folders.clear()
            continue
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _is_same(here / name, leave_out)
        )
        yield here, [here / name for name in sorted(names) if not name.startswith(".")]


def _is_same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()


def _study_of(files: Sequence[Path], limits: Limits) -> str | None:
    """Study Instance UID of a folder's first readable file; empty where only unreadable ones are DICOM, None without any."""
    some = False
    for file in files:
        if file.name.upper() == "DICOMDIR" or not is_dicom_file(file):
            continue
        some = True
        instance, _ = read_instance(file, limits)
        if instance is not None and instance.sop_class != DIRECTORY_CLASS:
            uid = text(instance.header, "StudyInstanceUID")
            # Shown in messages: what is no UID may be anything.
            if uid and set(uid) <= set("0123456789."):
                return uid
    return "" if some else None


def _without_images(
    given: Path, folders: dict[Path, list[Path]], groups: dict[str, list[Path]]
) -> dict[str, list[Path]]:
    """Subfolders of the given one in which nothing was found."""
    used = {file.relative_to(given).parts[0] for files in groups.values() for file in files}
    empty: dict[str, list[Path]] = {}
    for folder, files in folders.items():
        if folder != given and (first := folder.relative_to(given).parts[0]) not in used:
            empty.setdefault(f"folder {given / first}", []).extend(files)
    return empty
