"""`manifest.jsonl`, the one ledger of an output folder: who has which name, and what became of each study.

Every run and worker appends to it, a line of JSON by one write under a lock; nothing is ever rewritten, and a line that a killed process
left unfinished counts as none. Of several lines about one place the last one counts. Reports are views of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any

from monai_dis.data.locks import LOCK_PREFIX, locked
from monai_dis.errors import OutputError
from monai_dis.pipeline.legacy import earlier_records, record_of_old_line
from monai_dis.pipeline.naming import choose_stems
from monai_dis.pipeline.record import Record

__all__ = ["LEDGER_NAME", "Ledger", "known_results"]

LEDGER_NAME = "manifest.jsonl"


class Ledger:
    """The ledger of an output folder.

    Args:
        folder: where it lies; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LEDGER_NAME
        self._read_bytes = 0
        self._guard = RLock()  # one study is looked up while another is recorded
        self._records: dict[str, Record] = {}
        self._stems: dict[str, Record] = {}
        self._claims: dict[str, str] = {}
        for record in earlier_records(folder):
            self._enter(record)

    def records(self) -> dict[str, Record]:
        """The last record of each place."""
        with self._guard:
            self._refresh()
            return dict(self._records)

    def of_place(self, place: str) -> Record | None:
        """The last record of a place."""
        with self._guard:
            self._refresh()
            return self._records.get(place)

    def of_stem(self, stem: str) -> Record | None:
        """The last record of whatever study has this stem."""
        with self._guard:
            self._refresh()
            return self._stems.get(stem)

    def claim(self, wanted: Mapping[str, str], inputs: Iterable[Path] = ()) -> dict[str, str]:
        """Give each place a stem for good, see `monai_dis.pipeline.naming.choose_stems`.

        Args:
            wanted: the stem that each place would have if it were alone.
            inputs: files that the run reads.

        Raises:
            OutputError: when the ledger cannot be written.
        """
        if not wanted:
            return {}
        read = [each.name for each in inputs if each.parent == self.folder]
        with self._alone(), self._guard:
            self._refresh()
            stems = choose_stems(wanted, self._claims, [each.name for each in self.folder.iterdir()], read)
            new = {place: stem for place, stem in stems.items() if self._claims.get(place) != stem}
            if new:
                self._write(json.dumps({"claims": new}, sort_keys=True) + "\n")
        return stems

    def append(self, record: Record) -> None:
        """Add a record.

        Raises:
            OutputError: when the file cannot be written.
        """
        with self._alone():
            self._write(record.line())

    @contextmanager
    def writing(self, stem: str) -> Iterator[None]:
        """Keep every other process from writing the files of a stem, and what the ledger says of them."""
        with locked(self.folder / f"{LOCK_PREFIX}{sha256(stem.encode()).hexdigest()[:16]}"):
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self.folder / f"{LOCK_PREFIX}{LEDGER_NAME}"):
            yield

    def _write(self, line: str) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                os.write(descriptor, ("\n" if torn else "").encode() + line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); make room or choose another folder."
            ) from error

    def _refresh(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new.rfind(b"\n") + 1  # another process may be writing the rest
        self._read_bytes += whole
        for line in new[:whole].decode("utf-8", errors="replace").splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict):
                self._take(content)

    def _take(self, content: Mapping[str, Any]) -> None:
        if isinstance(content.get("claims"), dict):
            self._claims.update({str(place): str(stem) for place, stem in content["claims"].items()})
            return
        record = Record.of_content(content) or record_of_old_line(content, self.folder)
        if record is not None:
            self._enter(record)

    def _enter(self, record: Record) -> None:
        self._records[record.place] = record
        if record.stem:
            self._claims[record.place] = record.stem
            if record.status == "done" or record.stem not in self._stems:
                self._stems[record.stem] = record


def known_results(folder: Path) -> set[Path]:
    """Files of a folder that runs of ours wrote there as answers; empty for a folder without a ledger."""
    return {
        folder / Path(file).name for record in Ledger(folder).records().values() for file in record.outputs.values()
    }
