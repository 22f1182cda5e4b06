"""`report.json`, `report.html` and `report-objects.csv`: what a run did to each study, as views of the ledger and of its own records."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import OutputError
from monai_dis.pipeline.ledger import Ledger
from monai_dis.pipeline.object_table import write_object_table
from monai_dis.pipeline.record import Record

__all__ = ["Report", "Shard", "report_name", "table_name"]

REPORT_NAME = "report.json"
_FORMAT = 2
_SHARE = 20  # a long report is rewritten so seldom that it takes a twentieth of the time at most

#: One of several shares of a run's inputs: ``(2, 4)`` is the second of four.
Shard = tuple[int, int]
Entry = dict[str, Any]


def report_name(shard: Shard | None) -> str:
    """Name of the report of a run, or of one of several shares that write to one folder at once."""
    return REPORT_NAME if shard is None else f"report-{shard[0]}-of-{shard[1]}.json"


def table_name(shard: Shard | None) -> str:
    """Name of the table of objects that goes with a report."""
    return report_name(shard).replace(".json", "-objects.csv")


@dataclass
class Report:
    """The report of one run.

    Attributes:
        ledger: of the output folder.
        settings: what the results depend on besides the studies, in plain JSON types.
        shard: which share of its inputs the run does.
        records: of this run, in the order of its studies.
    """

    ledger: Ledger
    settings: Mapping[str, Any]
    shard: Shard | None = None
    records: list[Record] = field(default_factory=list)
    _due: float = 0.0

    @property
    def path(self) -> Path:
        """Where the report is written."""
        return self.ledger.folder / report_name(self.shard)

    def add(self, record: Record) -> None:
        """Enter a study, and write the file unless it was written a moment ago."""
        self.records.append(record)
        if (start := time.monotonic()) >= self._due:
            self.write()
            self._due = time.monotonic() + _SHARE * (time.monotonic() - start)

    def finish(self) -> None:
        """Write the file, the table of objects, and the page that shows it; a share of several has no page."""
        from monai_dis.reports.page import write_page

        self.write()
        content, folder = self.to_dict(), self.ledger.folder
        with contextlib.suppress(OSError):  # table and page are courtesies; the results and report.json are written
            write_object_table([*content["images"], *content.get("earlier", ())], folder / table_name(self.shard))
            if self.shard is None:
                write_page(content, folder)

    def write(self) -> None:
        """Write the file anew under a temporary name and move it in place.

        Raises:
            OutputError: when it cannot be written.
        """
        try:
            with atomic_path(self.path) as temporary:
                temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); make room or choose another folder."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """The content of the file: ``images`` of this run, ``earlier`` ones whose files are still there."""
        places = {record.place for record in self.records}
        folder = self.ledger.folder
        others = [each for each in self.ledger.records().values() if each.place not in places]
        # Copies of one DICOM study have one result.
        stems = {record.stem for record in self.records if record.stem}
        earlier = [_entry(each) for each in others if each.is_whole(folder) and each.stem not in stems]
        content: dict[str, Any] = {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "summary": self.summary(),
            "images": [_entry(each) for each in self.records],
        }
        return {**content, "earlier": earlier} if earlier else content

    def summary(self) -> dict[str, Any]:
        """Counts, means and totals over the studies of this run that have a result."""
        done = [record for record in self.records if record.status == "done"]
        skipped = sum(record.status == "skipped" for record in self.records)
        summary: dict[str, Any] = {
            "images": len(self.records),
            "done": sum(not record.kept for record in done),
            "kept": sum(record.kept for record in done),
            "failed": len(self.records) - len(done) - skipped,
            **({"skipped": skipped} if skipped else {}),
        }
        entries = [record.entry for record in done]
        for key in ("fraction_of_full_pass", "fraction_of_sliding_window"):
            values = [entry[key] for entry in entries if entry.get(key) is not None]
            summary[f"mean_{key}"] = sum(values) / len(values) if values else None
        for key in ("windows_refined", "windows_total", "operations"):
            summary[key] = sum(entry.get(key, 0) for entry in entries)
        summary["seconds"] = round(sum(record.seconds.get("total", 0.0) for record in done), 3)
        summary["peak_memory_bytes"] = max((entry.get("peak_memory_bytes", 0) for entry in entries), default=None)
        return summary


def _entry(record: Record) -> Entry:
    """An entry of the report: what happened, and by what the study is known."""
    source = {
        "kind": record.kind,
        "place": record.place,
        "stem": record.stem,
        "fingerprint": record.fingerprint,
        "settings": record.settings,
    }
    return {**record.entry, "source": source}
