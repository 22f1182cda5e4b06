"""What a study is to a run: something with a place that can be looked at, read, answered and written. Its kinds register here.

A kind is a module with a class for its studies. The pipeline knows none of them: it imports those that are registered when inputs are
searched, in this order, so that kinds may build on the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from monai_dis.errors import DisError
from monai_dis.pipeline.device import PeakMemory
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.options import Options
from monai_dis.pipeline.predict import Stopwatch

__all__ = [
    "KINDS",
    "Job",
    "Opened",
    "Progress",
    "RefusedError",
    "SkippedError",
    "Study",
    "StudyKind",
    "kinds",
    "register_kind",
]

#: Where the kinds of study are defined: ``module:name`` of a `StudyKind`.
KINDS = ["monai_dis.pipeline.image_study:IMAGES", "monai_dis.slides.study:SLIDES", "monai_dis.dicom.study:DICOM"]

Entry = dict[str, Any]
#: Told a stage, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


class RefusedError(DisError):
    """What cannot be segmented, with what the report says of it besides the message.

    Args:
        message: why not.
        entry: of the report.
    """

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message)
        self.entry = entry


class SkippedError(DisError):
    """What was found beside studies and is none for this bundle; the message says why. It is no failure."""


@dataclass(frozen=True)
class Job:
    """What all studies of a run share.

    Attributes:
        model: that answers.
        options: how studies are taken and what is written.
        memory: whose peak counts for each study: several are under way at once.
        progress: told the stages of a study that takes long.
    """

    model: Model
    options: Options
    memory: PeakMemory = field(repr=False)
    progress: Progress = field(default=lambda stage, done, total: None, repr=False)


@dataclass(frozen=True)
class Opened:
    """A study that was looked at: which it is, before anything of size is read.

    Attributes:
        fingerprint: SHA-256 of its content.
        stem: of its results; empty where the content gives it no name of its own.
        entry: what the report says of it so far.
        load: reads it.
        settings: what the result depends on besides the study, in plain JSON types.
    """

    fingerprint: str
    settings: Any = field(repr=False)
    load: Callable[[Stopwatch], Any] = field(repr=False)
    stem: str = ""
    entry: Entry = field(default_factory=dict, repr=False)


class Study(Protocol):
    """One study; small, so that it travels between processes while its images stay where they are."""

    @property
    def kind(self) -> str:
        """Name of its kind."""

    @property
    def place(self) -> str:
        """Where it lies, unlike that of any other study."""

    @property
    def label(self) -> str:
        """What it is called in messages and reports."""

    @property
    def wanted_stem(self) -> str:
        """With which the names of its results would begin if it were alone; empty where only its content tells."""

    @property
    def given(self) -> Path:
        """The path that the user gave, or one below it that may be shown."""

    @property
    def resumes(self) -> bool:
        """Whether it takes so long that half-done files are kept for a later run: one process alone works on it then."""

    def opened(self, job: Job) -> AbstractContextManager[Opened]:
        """Look at the study; while the block runs it can be loaded.

        Raises:
            SkippedError: when it is nothing for this model, and that is no failure.
            DisError: when it is refused.
        """

    def answer(self, loaded: Any, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Any:
        """The model's answer for what was loaded; ``folder`` may hold what a study that takes long has done so far."""

    def write(self, answer: Any, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Entry:
        """Write the results; returns what the report says of them."""

    def explain(self, error: Exception) -> str:
        """A sentence for what nobody foresaw."""


class StudyKind(Protocol):
    """A kind of study."""

    @property
    def name(self) -> str:
        """Of the kind."""

    def takes_folder(self, folder: Path) -> bool:
        """Whether a folder is a study of this kind as a whole, by its name alone."""

    def find(self, search: Any) -> Sequence[Study]:
        """The studies of this kind among the files of a `monai_dis.pipeline.find.Search` that no kind has claimed yet."""


def register_kind(place: str) -> None:
    """Add a kind of study, found before those that are there.

    Args:
        place: ``module:name`` of a `StudyKind`.
    """
    KINDS.insert(0, place)


def kinds() -> list[StudyKind]:
    """The kinds of study, in the order in which a report lists their studies."""
    found = []
    for place in KINDS:
        module, _, name = place.partition(":")
        found.append(getattr(import_module(module), name))
    return found
