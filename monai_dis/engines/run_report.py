"""`report.json`: what a run did to each image, rewritten whole after each, and read again to finish what was cut off."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import OutputError

__all__ = ["RunReport", "Shard", "absolute", "fingerprint", "report_name", "settings_digest"]

REPORT_NAME = "report.json"
_FORMAT = 1

Entry = dict[str, Any]


#: One of several shares of a run's inputs: ``(2, 4)`` is the second of four.
Shard = tuple[int, int]


def report_name(shard: Shard | None) -> str:
    """Name of the report of a run, or of one of several shares that write to one folder at once."""
    return REPORT_NAME if shard is None else f"report-{shard[0]}-of-{shard[1]}.json"


def absolute(path: Path) -> Path:
    """One path for one file: absolute, without ``..``; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `Path.absolute` keeps `..`


def fingerprint(path: Path) -> dict[str, int]:
    """Size in bytes and time of change in nanoseconds: a file that keeps both is taken to be the same file."""
    status = path.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings in plain JSON types."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass
class RunReport:
    """The report of one output folder.

    Attributes:
        folder: where `report.json` lies.
        settings: what the results depend on besides the images, in plain JSON types.
        name: of the file; runs that share a folder have one each.
        images: entries of this run, in the order of its images.
        earlier: entries of former runs on images that are not part of this one and whose files are still there.
    """

    folder: Path
    settings: Mapping[str, Any]
    name: str = REPORT_NAME
    images: list[Entry] = field(default_factory=list)
    earlier: list[Entry] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the report is written."""
        return self.folder / self.name

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any], name: str = REPORT_NAME) -> RunReport:
        """Begin the report of a run, with what an older report in the folder says; a damaged one counts as none."""
        report = cls(folder, settings, name)
        try:
            content = json.loads(report.path.read_text(encoding="utf-8"))
            entries = [*content["images"], *content.get("earlier", [])]
        except (OSError, ValueError, KeyError, TypeError):
            return report
        report.earlier = [entry for entry in entries if isinstance(entry, dict) and report._is_whole(entry)]
        return report

    def stems(self) -> dict[Path, str]:
        """Output stems of earlier entries, by the absolute path of their image."""
        return {Path(entry["source"]["path"]): entry["source"]["stem"] for entry in self.earlier}

    def finished(self, image: Path) -> Entry | None:
        """The earlier entry of an image, if it was made with the same settings from the same file."""
        digest = settings_digest(self.settings)
        for entry in self.earlier:
            source = entry["source"]
            if Path(source["path"]) == absolute(image) and source["settings"] == digest:
                try:
                    unchanged = fingerprint(image) == {key: source[key] for key in ("bytes", "modified_ns")}
                except (OSError, KeyError):
                    return None
                return entry if unchanged else None
        return None

    def add(self, image: Path, stem: str, entry: Entry, *, write: bool = True) -> None:
        """Enter an image in place of what earlier runs said of it, and rewrite the file unless that is put off."""
        path = absolute(image)
        source: dict[str, Any] = {"path": str(path), "stem": stem, "settings": settings_digest(self.settings)}
        if "error" not in entry:
            source.update(fingerprint(image))
        self.images.append({**entry, "source": source})
        self.earlier = [old for old in self.earlier if Path(old["source"]["path"]) != path]
        if write:
            self.write()

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
        """The content of the file."""
        content: dict[str, Any] = {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "summary": self.summary(),
            "images": self.images,
        }
        if self.earlier:
            content["earlier"] = self.earlier
        return content

    def summary(self) -> dict[str, Any]:
        """Counts, means and totals over the images of this run that have a result."""
        done = [entry for entry in self.images if "error" not in entry]
        summary: dict[str, Any] = {
            "images": len(self.images),
            "done": sum(not entry.get("kept", False) for entry in done),
            "kept": sum(bool(entry.get("kept", False)) for entry in done),
            "failed": len(self.images) - len(done),
        }
        for key in ("fraction_of_full_pass", "fraction_of_sliding_window"):
            values = [entry[key] for entry in done if entry.get(key) is not None]
            summary[f"mean_{key}"] = sum(values) / len(values) if values else None
        for key in ("windows_refined", "windows_total", "operations"):
            summary[key] = sum(entry[key] for entry in done)
        summary["seconds"] = round(sum(entry["seconds"]["total"] for entry in done), 3)
        summary["peak_memory_bytes"] = max((entry["peak_memory_bytes"] for entry in done), default=None)
        return summary

    def _is_whole(self, entry: Entry) -> bool:
        try:
            source = entry["source"]
            needed = (source["path"], source["stem"], source["settings"], entry["seconds"]["total"])
            names = [entry["output"], entry["overlay"], *entry.get("masks", {}).values()]
            names += [entry["outlines"]] if "outlines" in entry else []
            files = [self.folder / Path(name).name for name in names]
        except (KeyError, TypeError):
            return False
        return all(needed[:3]) and all(file.is_file() for file in files)
