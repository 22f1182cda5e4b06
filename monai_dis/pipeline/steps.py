"""The steps of one study, the same for every kind and every way to run: read, work, write; what goes wrong with it is in its record.

``read`` looks at the study and loads it unless the ledger knows its result; ``work`` is the network; ``write`` writes the files and, last
of all, the record that says that they are whole. The three may run at once for three studies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monai_dis.errors import DisError, OutputError
from monai_dis.pipeline.fingerprint import settings_digest
from monai_dis.pipeline.ledger import Ledger
from monai_dis.pipeline.legacy import stamp_of
from monai_dis.pipeline.predict import Stopwatch, enough_memory
from monai_dis.pipeline.record import Record
from monai_dis.pipeline.study import Entry, Job, Opened, RefusedError, SkippedError, Study

__all__ = ["Steps"]

logger = logging.getLogger(__name__)


@dataclass
class _Going:
    """A study between reading and writing; ``loaded`` and ``answer`` are None when there is nothing more to do."""

    study: Study
    watch: Stopwatch
    stem: str
    entry: Entry
    fingerprint: str = ""
    settings: str = ""
    record: Record | None = None  # of an earlier run, which is kept
    loaded: Any = field(default=None, repr=False)
    answer: Any = field(default=None, repr=False)
    twin: bool = False  # the same content is on its way already
    done: Record | None = None


class Steps:
    """The steps of the studies of one run.

    Args:
        job: what they share.
        ledger: of the output folder.
        worker: name of this process; made from host and process when not given.
    """

    def __init__(self, job: Job, ledger: Ledger, worker: str = "") -> None:
        self.job = job
        self.ledger = ledger
        self.worker = worker or f"{socket.gethostname()}:{os.getpid()}"
        self._begun: set[str] = set()

    def all(self, study: Study, stem: str) -> Record:
        """The three steps, one after the other.

        Raises:
            OutputError: when the folder cannot be written.
        """
        return self.write(self.work(self.read(study, stem)))

    def read(self, study: Study, stem: str) -> _Going:
        """Look at a study, and load it unless an earlier run completed it and it is not to be redone."""
        job, start = self.job, time.perf_counter()
        going = _Going(study, Stopwatch(job.model.device), stem, {"input": str(study.given), "mode": job.model.mode})
        if study.label != study.given.name:
            going.entry["study"] = study.label
        with self._kept_in(going), enough_memory(study.given), study.opened(job) as opened:
            going.entry.update(opened.entry)
            going.stem = stem = stem or opened.stem
            going.fingerprint, going.settings = opened.fingerprint, settings_digest(opened.settings)
            going.record = None if job.model.overwrite else self._earlier(study, opened, going)
            going.twin = going.record is None and stem in self._begun
            self._begun.add(stem)
            if going.record is None and not going.twin:
                going.watch.seconds["check"] = time.perf_counter() - start
                going.loaded = opened.load(going.watch)
        return going

    def work(self, going: _Going) -> _Going:
        """Run the network on what was loaded; a study that resumes is written too, since its half-done files are nobody else's."""
        if going.loaded is None:
            return going
        if going.study.resumes:
            going.done = self._finished(going)
        else:
            self._answer(going)
        return going

    def write(self, going: _Going) -> Record:
        """Write the results and the record.

        Raises:
            OutputError: when a file cannot be written.
        """
        if going.record is not None or going.done is not None:
            return going.record or going.done  # type: ignore[return-value]
        if going.answer is None and not going.twin:
            return self._entered(going)
        return self._finished(going)

    def _answer(self, going: _Going) -> None:
        study = going.study
        with self._kept_in(going), enough_memory(study.given):
            going.answer = study.answer(going.loaded, self.job, going.watch, going.stem, self.ledger.folder)
        going.loaded = None  # its memory is for the next study

    def _finished(self, going: _Going) -> Record:
        """What is left to do for a study, while no other process can do it."""
        with self.ledger.writing(going.stem):
            with self._kept_in(going), _writable(going.study.given):
                # Another run, or a copy of the study in this one, may have been faster.
                if going.twin or not self.job.model.overwrite:
                    going.record = self._of_stem(going)
                if going.record is None and going.twin:
                    raise DisError(f"{going.study.label} is the same study as another one, which failed; see there.")
                if going.record is None and going.loaded is not None:
                    self._answer(going)
                if going.record is None and going.answer is not None:
                    job, folder = self.job, self.ledger.folder
                    going.entry.update(going.study.write(going.answer, job, going.watch, going.stem, folder))
            going.answer = None
            return going.record or self._entered(going)

    def _earlier(self, study: Study, opened: Opened, going: _Going) -> Record | None:
        """What an earlier run did of this study, with the same settings and from the same content, if it is whole."""
        record = self.ledger.of_place(study.place)
        if record is not None and record.is_whole(self.ledger.folder) and record.settings == going.settings:
            same = record.fingerprint == going.fingerprint or _is_unchanged(study, record)
            if same and record.stem == going.stem:
                return self._kept(record, going)
        return self._of_stem(going) if opened.stem else None

    def _of_stem(self, going: _Going) -> Record | None:
        """The record of whatever has this stem, if it answers this study.

        Raises:
            DisError: when it is the answer for another content, which must not be overwritten.
        """
        record = self.ledger.of_stem(going.stem)
        if record is None or not record.is_whole(self.ledger.folder):
            return None
        # A stem that comes from the content says all of bundle and settings; version 0.1 noted no fingerprint with it.
        from_content = not going.study.wanted_stem
        same = record.fingerprint == going.fingerprint or (from_content and not record.fingerprint)
        if same and (from_content or record.settings == going.settings):
            return self._kept(record, going)
        if record.place == going.study.place:
            return None
        if from_content:
            raise DisError(
                f"{going.study.label} has the instance UIDs of a study that was segmented into this folder, and other content; "
                "give it an output folder of its own."
            )
        return None

    def _kept(self, record: Record, going: _Going) -> Record:
        entry = {**record.entry, **going.entry, "kept": True}
        return replace(
            record, study=going.study.label, kind=going.study.kind, place=going.study.place, entry=entry, kept=True
        )

    def _entered(self, going: _Going) -> Record:
        """The record of a study that came to an end, which the ledger has from here on."""
        entry, study = going.entry, going.study
        if "error" in entry:
            status = "refused" if entry.pop("refused", False) else "failed"
        else:
            status = "skipped" if "skipped" in entry else "done"
        record = Record(
            study.label, study.kind, study.place, going.stem if status == "done" else "", going.fingerprint, going.settings, status,
            entry, worker=self.worker,
        )  # fmt: skip
        self.ledger.append(record)
        return record

    @contextlib.contextmanager
    def _kept_in(self, going: _Going) -> Iterator[None]:
        """Enter what goes wrong with one study, so that it does not stop the others."""
        study, entry = going.study, going.entry
        try:
            yield
        except OutputError:
            raise  # the next study would meet the same full or forbidden folder
        except SkippedError as error:
            entry["skipped"] = str(error)
        except DisError as error:
            entry.update(error.entry if isinstance(error, RefusedError) else {})
            entry.update(error=_named(entry, str(error)), refused=True)
        except Exception as error:  # one strange study must not cost a night's work
            # What is raised may quote a header of DICOM, so only the study itself knows what may be said.
            logger.debug("unexpected %s in a study of the kind %s", type(error).__name__, study.kind)
            entry["error"] = _named(entry, study.explain(error))


@contextlib.contextmanager
def _writable(given: Path) -> Iterator[None]:
    """Say in a sentence that a file of a result cannot be written."""
    try:
        yield
    except (OutputError, DisError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OutputError(
            f"a result of {given.name} cannot be written ({reason}); make room or choose another folder."
        ) from error


def _named(entry: Entry, sentence: str) -> str:
    return f"{entry['study']}: {sentence}" if "study" in entry else sentence


def _is_unchanged(study: Study, record: Record) -> bool:
    """Whether a study of version 0.1, which was known by size and time of change at its place, is as it was."""
    try:
        return record.fingerprint == stamp_of(study.given)
    except OSError:
        return False
