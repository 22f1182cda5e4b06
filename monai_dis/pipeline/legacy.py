"""Output folders of version 0.1, which kept several ledgers: read for one version, never written.

Plain runs wrote ``report.json`` (and one for each share), cohorts a ``manifest.jsonl`` of other lines, DICOM ``<uid>.result.json``. What
they say of places and files is taken over: names stay theirs, and what is whole and unchanged is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_dis.pipeline.record import Record

__all__ = ["earlier_records", "record_of_old_line", "stamp_of"]

_RESULT = ".result.json"


def earlier_records(folder: Path) -> list[Record]:
    """Records of results that version 0.1 left in a folder; those whose files are gone are passed over."""
    found = [*_of_reports(folder), *_of_results(folder)]
    return [record for record in found if record.outputs and record.is_whole(folder)]


def stamp_of(path: Path) -> str:
    """Size and time of change of a file, by which version 0.1 recognised it at its place.

    Raises:
        OSError: when it cannot be looked at.
    """
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns} ns"


def _of_reports(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("report*.json")):
        content = _read(path)
        for entry in [*_list(content, "images"), *_list(content, "earlier")]:
            source = entry.get("source") if isinstance(entry, dict) else None
            # Entries of this version have a fingerprint there, and a line in the ledger.
            if not isinstance(source, dict) or "error" in entry or "bytes" not in source:
                continue
            try:
                stamp = f"{source['bytes']} bytes, {source['modified_ns']} ns"
                place, stem, settings = source["path"], source["stem"], source["settings"]
            except KeyError:
                continue
            yield Record(str(entry.get("study", stem)), "image", place, stem, stamp, settings, "done", entry)


def _of_results(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob(f"*{_RESULT}")):
        entry, uid = _read(path), path.name.removesuffix(_RESULT)
        if entry.get("sop_instance_uid") == uid:
            # The UID says all of it: images, bundle and settings.
            yield Record(uid, "dicom", f"{path}", uid, "", "", "done", entry)


def record_of_old_line(content: Mapping[str, Any], folder: Path) -> Record | None:
    """The record of a line that version 0.1 wrote into a ledger; None when it is no such line.

    It says neither where the study lay nor what was in it: its names stay taken, no more.
    """
    if not isinstance(content.get("outputs"), dict):
        return None
    entry: dict[str, Any] = {"masks": {}}
    for key, path in content["outputs"].items():
        if key.startswith("mask "):
            entry["masks"][key.removeprefix("mask ")] = path
        else:
            entry[key] = path
    study = str(content.get("study", ""))
    record = Record(study, "", f"{folder}#{study}", study, "", "", "done", entry)
    return record if record.outputs and record.is_whole(folder) else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    value = content.get(key, [])
    return value if isinstance(value, list) else []
