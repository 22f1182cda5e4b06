"""The studies of what a user gave: every file is claimed by one kind of study, and what nobody can claim has a reason.

A folder stands for everything below it, of whatever kind: images, slides, DICOM studies, side by side. Hidden files are passed over, and
so are answers of earlier runs, which their ledgers name; files of other kinds count only where the user named them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from monai_dis.data.image_files import IMAGE_SUFFIXES
from monai_dis.errors import DataError, DicomError, ImageError
from monai_dis.pipeline.fingerprint import absolute
from monai_dis.pipeline.ledger import LEDGER_NAME, known_results
from monai_dis.pipeline.options import Options
from monai_dis.pipeline.study import Entry, Job, Opened, Study, kinds
from monai_dis.printable import printable

__all__ = ["NoStudy", "Search", "find_studies"]


@dataclass
class Search:
    """One input being searched; kinds claim files from it.

    Attributes:
        given: what the user gave, absolute.
        options: how studies are taken.
        output: the run's output folder; None where there is none.
        files: what no kind has claimed yet, sorted; just ``given`` where that is a file.
        folders: folders that are a study as a whole, likewise; what lies in them is not among the files.
        found: studies of other kinds, found before.
    """

    given: Path
    options: Options
    output: Path | None = None
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    found: list[Study] = field(default_factory=list)

    @property
    def named(self) -> bool:
        """Whether the user named a file and no folder."""
        return not self.given.is_dir()

    def claim(self, paths: Iterable[Path]) -> None:
        """Take files and folders away from the kinds that come after; with a folder all that is below it."""
        taken = set(paths)
        self.files = [file for file in self.files if file not in taken and not taken.intersection(file.parents)]
        self.folders = [folder for folder in self.folders if folder not in taken]


@dataclass(frozen=True)
class NoStudy:
    """What was asked for and cannot be a study; it is refused with its reason when its turn comes.

    Attributes:
        given: where it is.
        reason: a sentence.
        place: see `Study`.
    """

    given: Path
    reason: str
    place: str
    kind: str = "none"

    @classmethod
    def at(cls, path: Path, reason: str) -> NoStudy:
        """What is at a path."""
        return cls(path, reason, str(path))

    def discreet(self, given: Path) -> NoStudy:
        """The same without its name, which below a folder of DICOM may be a person's."""
        mark = sha256(self.place.encode(errors="surrogateescape")).hexdigest()[:16]
        reason = f"an entry below {given} is a link that leads nowhere, or may not be read; mend it or leave it out."
        return NoStudy(given, reason, f"{given}#{mark}")

    @property
    def label(self) -> str:
        """See `Study`."""
        return printable(self.given.name)

    @property
    def wanted_stem(self) -> str:
        """See `Study`; nothing is written."""
        return ""

    @property
    def resumes(self) -> bool:
        """See `Study`."""
        return False

    @contextmanager
    def opened(self, job: Job) -> Iterator[Opened]:
        """Raise the reason.

        Raises:
            ImageError: always.
        """
        raise ImageError(self.reason)
        yield  # type: ignore[unreachable]

    def answer(self, *arguments: Any) -> Any:
        """Never called: it cannot be opened."""

    def write(self, *arguments: Any) -> Entry:
        """Never called: it cannot be opened."""
        return {}

    def explain(self, error: Exception) -> str:
        """See `Study`."""
        return printable(f"{self.given} could not be looked at ({type(error).__name__}: {error})")


def find_studies(
    inputs: Sequence[str | Path], options: Options | None = None, *, output: Path | None = None
) -> list[Study]:
    """Find the studies of inputs, each once: images first, then slides, then DICOM, and last what is none.

    Args:
        inputs: what the user gave: files, folders, archives.
        options: how studies are taken.
        output: folder of the results.

    Raises:
        DataError: when nothing is given.
        DicomError: when something was asked for that only a DICOM study can have, and there is none.
    """
    options = options or Options()
    ordered = kinds()
    by_kind: dict[str, list[Study]] = {kind.name: [] for kind in ordered}
    by_kind["none"] = []
    if not inputs:
        raise DataError("there is nothing to segment: give one image, folder or study at least.")
    for given in dict.fromkeys(absolute(each) for each in inputs):
        for study in _studies_of(Search(given, options, output)):
            by_kind[study.kind].append(study)
    places: dict[str, Study] = {}
    for study in (each for several in by_kind.values() for each in several):
        places.setdefault(study.place, study)
    if options.for_dicom_alone and not by_kind.get("dicom"):
        raise DicomError("--format and --select are for DICOM studies, and there is none in the input.")
    if options.uncertainty and not (by_kind.get("dicom") or by_kind.get("image")):
        raise DicomError(
            "--uncertainty is for images and DICOM studies that are read whole, and there is none in the input."
        )
    return list(places.values())


def _studies_of(search: Search) -> list[Study]:
    given = search.given
    trouble = _why_not(given)
    if trouble:
        return [NoStudy.at(given, trouble)]
    found: list[Study] = []
    if given.is_dir():
        found += _list_folder(search)
    else:
        search.files = [given]
    # The last kinds claim first: what is DICOM is nothing else, and a slide is no picture.
    for kind in reversed(kinds()):
        search.found = found
        found = [*kind.find(search), *found]
    if search.named and not found:
        found.append(NoStudy.at(given, _unknown(given)))
    if not found:
        listed = ", ".join(IMAGE_SUFFIXES)
        found.append(
            NoStudy.at(given, f"the folder {given} holds no images ({listed}) and no DICOM; give another one.")
        )
    if any(study.kind == "dicom" for study in found):
        found = [each.discreet(given) if isinstance(each, NoStudy) else each for each in found]
    return found


def _list_folder(search: Search) -> list[Study]:
    """Fill a search with what is below a folder; returns what cannot be looked at."""
    unusable: list[Study] = []

    def unreadable(error: OSError) -> None:
        place = Path(error.filename)
        unusable.append(
            NoStudy.at(place, f"the folder {place} may not be read ({error.strerror}); change its permissions.")
        )

    takers = kinds()
    for parent, names, files in os.walk(search.given, onerror=unreadable):
        here = Path(parent)
        if any(kind.takes_folder(here) for kind in takers):
            search.folders.append(here)
            names.clear()
            continue
        names[:] = sorted(name for name in names if not name.startswith("."))
        ours = known_results(here) if any(_may_be_ledger(name) for name in files) else set()
        for path in (here / name for name in sorted(files) if not name.startswith(".")):
            if path in ours:
                continue
            if path.is_file():
                search.files.append(path)
            elif path.is_symlink():
                unusable.append(NoStudy.at(path, _why_not(path)))
    return unusable


def _may_be_ledger(name: str) -> bool:
    return (
        name == LEDGER_NAME or name.endswith(".result.json") or (name.startswith("report") and name.endswith(".json"))
    )


def _why_not(path: Path) -> str:
    """What keeps a path from being looked at; empty when nothing does."""
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {path.readlink()}, which is not there; mend the link or leave it out."
    if not path.exists():
        return f"there is no file {path}; check the path."
    if not path.is_dir() and not path.is_file():
        return f"{path} is neither a file nor a folder; give an image file."
    return ""


def _unknown(path: Path) -> str:
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes); get a new copy of it."
    return f"{path} is of a kind that is not read; give DICOM or one of {', '.join(IMAGE_SUFFIXES)}."
