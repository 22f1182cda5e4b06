"""What is to be sent and what became of it, instance by instance (O13)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_dis.checks.limits import Limits
from monai_dis.dicom.instance import DIRECTORY_CLASS, Instance, is_dicom_file, read_instance
from monai_dis.errors import DicomError

__all__ = ["Delivery", "collect_instances", "describe_reason"]

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
#: Reasons of failure in STOW answers and C-STORE statuses (PS3.4 annex B.2.3, PS3.18 10.5.3).
_REASONS = (
    (0x0110, 0x0110, "processing failure"),
    (0x0111, 0x0111, "duplicate instance"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "data set does not match its SOP class"),
    (0xC000, 0xCFFF, "cannot be understood"),
)


@dataclass(frozen=True)
class Delivery:
    """What became of one instance.

    Attributes:
        path: its file.
        uid: SOP Instance UID.
        stored: whether the peer acknowledged it.
        status: in words; a warning of the peer counts as stored.
        attempts: how often it was sent.
    """

    path: Path
    uid: str
    stored: bool
    status: str
    attempts: int

    def to_dict(self) -> dict[str, Any]:
        """The delivery in plain JSON types."""
        return {"uid": self.uid, "stored": self.stored, "status": self.status, "attempts": self.attempts}


def describe_reason(code: int) -> str:
    """A status or failure reason in words."""
    words = next((text for first, last, text in _REASONS if first <= code <= last), "unknown reason")
    return f"{words} ({code:04X})"


def collect_instances(inputs: Sequence[Path], limits: Limits) -> list[Instance]:
    """Find the DICOM files of an input; reports come last, so that what they refer to is there before them.

    Args:
        inputs: files, and folders that are searched with their subfolders; other files in folders are passed over.
        limits: on sizes.

    Raises:
        DicomError: when there is nothing to send, or a file that was named is no DICOM that can be read.
    """
    found: dict[Path, Instance] = {}
    for given in inputs:
        path = given.expanduser()
        if not path.exists():
            raise DicomError("there is no such file or folder; check the path of what is to be sent.")
        for file in _files_below(path) if path.is_dir() else [path]:
            instance, findings = read_instance(file, limits)
            if instance is None or not instance.uid or not instance.sop_class:
                codes = ", ".join(sorted({each.code for each in findings})) or "UID_MISSING"
                raise DicomError(f"a file cannot be sent ({codes}); take it out, or get a new copy of it.")
            if instance.sop_class != DIRECTORY_CLASS:
                found[file] = instance
    if not found:
        raise DicomError("there is no DICOM file to send; check the path.")
    return sorted(found.values(), key=lambda each: (each.sop_class.startswith(_REPORTS), each.path))


def _files_below(folder: Path) -> list[Path]:
    paths = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    return sorted(path for path in paths if is_dicom_file(path))
