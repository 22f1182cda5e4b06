"""The files of an input: a folder, a file, several of them, a DICOMDIR, or a ZIP or tar archive in a private folder."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from monai_dis.checks.findings import Finding, finding
from monai_dis.checks.limits import Limits
from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.dicom.extra import discreet
from monai_dis.dicom.instance import DIRECTORY_CLASS, is_dicom_file, read_instance
from monai_dis.errors import DicomError

__all__ = ["InputFiles", "is_archive", "is_dicom_input", "open_input"]

_CHUNK = 1 << 20
_PROBED_FILES = 50
_PROBED_FOLDERS = 1000
_REFERENCED_FILE = 0x00041500


@dataclass(frozen=True)
class InputFiles:
    """Files to be read, and what was found on the way to them.

    Attributes:
        paths: sorted; those of an archive lie in a private folder and have no names of their own.
        findings: about the input as a whole.
        names: that files of an archive had in it; never shown.
    """

    paths: tuple[Path, ...]
    findings: tuple[Finding, ...] = ()
    names: Mapping[Path, str] = field(default_factory=dict, repr=False)


class _Unsafe(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding = finding(code, message)


def is_dicom_input(path: str | Path) -> bool:
    """Whether an input is DICOM: a DICOM file, an archive, or a folder with DICOM or nothing but archives among its first files.

    Only a few files of each folder are looked at, and pydicom is not imported for it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return is_dicom_file(path) or (not image_suffix(path) and is_archive(path))
    if not path.is_dir():
        return False
    probed = list(_probed(path))
    if any(is_dicom_file(file) for file in probed):
        return True
    return not any(image_suffix(file) for file in probed) and any(is_archive(file) for file in probed)


def _probed(folder: Path) -> Iterator[Path]:
    """The first files of each of the first folders below one."""
    for (parent, _, names), _ in zip(os.walk(folder), range(_PROBED_FOLDERS), strict=False):
        yield from (Path(parent) / name for name in sorted(names)[:_PROBED_FILES])


@contextmanager
def open_input(inputs: str | Path | Sequence[str | Path], limits: Limits) -> Iterator[InputFiles]:
    """List the files of an input; archives are unpacked into a private folder that is removed at the end of the block.

    Args:
        inputs: a folder, file or archive, or several of them.
        limits: on number, depth and expanded size.

    Raises:
        DicomError: when an input does not exist.
    """
    entries = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    with ExitStack() as stack:
        paths: list[Path] = []
        findings: list[Finding] = []
        names: dict[Path, str] = {}
        for entry in entries:
            path = Path(entry).expanduser()
            if not path.exists():
                raise DicomError("there is no such file or folder; check the path of the input.")
            try:
                found = _files_of(path, limits, stack, alone=len(entries) == 1)
            except _Unsafe as error:
                findings.append(error.finding)
                continue
            paths.extend(found.paths)
            findings.extend(found.findings)
            names.update(found.names)
        if len(paths) > limits.files:
            findings.append(_too_many(limits))
            paths = []
        yield InputFiles(tuple(dict.fromkeys(paths)), tuple(findings), names)


def _files_of(path: Path, limits: Limits, stack: ExitStack, *, alone: bool) -> InputFiles:
    if path.is_dir():
        return _listed(path, limits)
    if not is_dicom_file(path) and is_archive(path):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="monai-dis-")))  # mode 0700
        unpack = _unzip if zipfile.is_zipfile(path) else _untar
        names = unpack(path, folder, limits)
        inside = _listed(folder, limits)
        note = finding("INPUT_ARCHIVE", "an archive was unpacked into a private folder.", len(names))
        return InputFiles(inside.paths, (note, *inside.findings), names)
    # Of many files only one that is called so is taken for a DICOMDIR: to look into each would double the reading.
    may_be = alone or path.name.upper() == "DICOMDIR"
    directory = _referenced(path, limits) if may_be and is_dicom_file(path) else None
    return InputFiles((path,)) if directory is None else _listed(path.parent, limits)


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP or tar archive, compressed or not."""
    if image_suffix(path) in VOLUME_SUFFIXES:
        return False
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except (OSError, EOFError):
        return False


def _too_many(limits: Limits) -> Finding:
    return finding("LIMIT_EXCEEDED", f"the input has more than {limits.files} files.")


def _listed(folder: Path, limits: Limits) -> InputFiles:
    """All files below a folder, or those that its DICOMDIR names; links to folders are not followed."""
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder):
        if len(Path(parent).relative_to(folder).parts) > limits.depth:
            raise _Unsafe("LIMIT_EXCEEDED", f"folders are nested more than {limits.depth} deep.")
        folders.sort()
        paths.extend(Path(parent) / name for name in sorted(names) if not name.startswith("."))
        if len(paths) > limits.files:
            return InputFiles((), (_too_many(limits),))
    directory = next((path for path in paths if path.name.upper() == "DICOMDIR"), None)
    if directory is None:
        return InputFiles(tuple(paths))
    paths.remove(directory)
    named = _referenced(directory, limits)
    if named is None:
        return InputFiles(tuple(paths), (finding("INPUT_DICOMDIR", "a DICOMDIR cannot be read; all files are used."),))
    # Names in a header never become paths: they only choose among the files that are there.
    below = {path: _parts(path.relative_to(directory.parent).parts) for path in paths if _is_below(path, directory)}
    used = tuple(path for path in paths if below.get(path) in named)
    missing = len(named) - len(used)
    if missing > 0:
        note = f"the DICOMDIR names {missing} files that are not there; all files are used."
        return InputFiles(tuple(paths), (finding("INPUT_DICOMDIR", note, missing),))
    return InputFiles(used, (finding("INPUT_DICOMDIR", "the files that the DICOMDIR names are used.", len(used)),))


def _is_below(path: Path, directory: Path) -> bool:
    return directory.parent in path.parents


def _parts(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.upper().removesuffix(".") for part in parts)


def _referenced(path: Path, limits: Limits) -> set[tuple[str, ...]] | None:
    """File names in a DICOMDIR as parts; None when the file is none or cannot be read."""
    from monai_dis.dicom.instance import open_data_set
    from monai_dis.dicom.structure import StructureError

    instance, _ = read_instance(path, limits)
    if instance is None or instance.sop_class != DIRECTORY_CLASS:
        return None
    try:
        with discreet():
            records: Any = open_data_set(instance, limits).get("DirectoryRecordSequence") or []
            names = [record.get(_REFERENCED_FILE) for record in records]
            values = [name.value for name in names if name is not None and name.value]
            return {_parts([value] if isinstance(value, str) else [str(part) for part in value]) for value in values}
    except (StructureError, AttributeError, TypeError, ValueError, KeyError):
        return None


def _unzip(path: Path, folder: Path, limits: Limits) -> dict[Path, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in archive.infolist():
                mode = entry.external_attr >> 16
                _check_name(entry.orig_filename, link=stat.S_ISLNK(mode))
            if len(entries) > limits.files:
                raise _Unsafe("LIMIT_EXCEEDED", f"the archive has more than {limits.files} files.")
            stored, total, names = path.stat().st_size, 0, {}
            if not limits.may_expand(sum(entry.file_size for entry in entries), stored):
                raise _Unsafe("LIMIT_EXCEEDED", f"an archive of {stored} bytes expands beyond the limits.")
            for number, entry in enumerate(entries):
                target = folder / _neutral_name(number)
                names[target] = entry.filename
                with archive.open(entry) as source:
                    total = _copy(source, target, total, stored, limits)
            return names
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = type(error).__name__
        raise _Unsafe("FILE_CORRUPT", f"an archive cannot be unpacked ({reason}); get a new copy of it.") from None


def _untar(path: Path, folder: Path, limits: Limits) -> dict[Path, str]:
    stored, total, announced, number = path.stat().st_size, 0, 0, 0
    names: dict[Path, str] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            # One member after the other: the next header lies behind what may be a bomb.
            while (member := archive.next()) is not None:
                _check_name(member.name, link=not (member.isfile() or member.isdir()))
                announced += member.size
                if not limits.may_expand(announced, stored):
                    raise _Unsafe("LIMIT_EXCEEDED", f"an archive of {stored} bytes expands beyond the limits.")
                source = archive.extractfile(member)
                if source is None:
                    continue
                number += 1
                if number > limits.files:
                    raise _Unsafe("LIMIT_EXCEEDED", f"the archive has more than {limits.files} files.")
                target = folder / _neutral_name(number)
                names[target] = member.name
                total = _copy(source, target, total, stored, limits)
            return names
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = type(error).__name__
        raise _Unsafe("FILE_CORRUPT", f"an archive cannot be unpacked ({reason}); get a new copy of it.") from None


def _check_name(name: str, *, link: bool) -> None:
    parts = name.split("/")
    unsafe = link or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name
    if unsafe:
        raise _Unsafe(
            "ARCHIVE_UNSAFE",
            "an archive holds a link, or an entry whose name leads out of its folder; pack the files anew.",
        )


def _neutral_name(number: int) -> str:
    """A name that says nothing of the entry's own, which may be a person's; a DICOMDIR is not needed to find the files."""
    return f"{number:06d}"


def _copy(source: IO[bytes], target: Path, total: int, stored: int, limits: Limits) -> int:
    with target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            total += len(chunk)
            if not limits.may_expand(total, stored):
                raise _Unsafe("LIMIT_EXCEEDED", f"an archive of {stored} bytes expands beyond the limits.")
            out.write(chunk)
    return total
