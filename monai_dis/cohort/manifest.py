"""`manifest.jsonl`: one line of JSON for each study that came to an end, appended by whichever process did it.

Lines are only ever added, each by one write under a lock, so that many runs and workers may share a manifest; a line that a killed
process left unfinished counts as none. Of several lines about one study the last one counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_dis.cohort.record import StudyRecord
from monai_dis.errors import OutputError

__all__ = ["MANIFEST_NAME", "Manifest"]

MANIFEST_NAME = "manifest.jsonl"


class Manifest:
    """The manifest of an output folder.

    Args:
        folder: where it lies; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST_NAME
        self._known: dict[str, StudyRecord] = {}
        self._read_bytes = 0

    def records(self) -> dict[str, StudyRecord]:
        """The last record of each study, by what it is called; only lines that are new are read."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
        except FileNotFoundError:
            return {}
        whole = new.rfind(b"\n") + 1  # another process may be writing the rest
        self._read_bytes += whole
        for line in new[:whole].decode("utf-8", errors="replace").splitlines():
            try:
                record = StudyRecord.of_line(line)
            except ValueError:
                continue
            self._known[record.study] = record
        return dict(self._known)

    def settled(self, study: str, fingerprint: str, settings: str) -> StudyRecord | None:
        """The record of a study that needs no more work, if its files and the settings are those of then."""
        record = self.records().get(study)
        if record is None or (record.fingerprint, record.settings) != (fingerprint, settings):
            return None
        return record if record.settled else None

    def append(self, record: StudyRecord) -> None:
        """Add a record.

        Raises:
            OutputError: when the file cannot be written.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                with _locked(descriptor):
                    size = os.fstat(descriptor).st_size
                    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                    os.write(descriptor, ("\n" if torn else "").encode() + record.line().encode())
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); make room or choose another folder."
            ) from error


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Keep other processes out; where the system has no such locks, appending in one write has to do."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
