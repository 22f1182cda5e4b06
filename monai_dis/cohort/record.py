"""What became of one study, in plain JSON types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["STATUSES", "StudyRecord"]

#: ``done``: segmented. ``refused``: it cannot be segmented, and the reason says why. ``failed``: something unforeseen. ``crashed``: its
#: worker died of it, each time it was tried.
STATUSES = ("done", "refused", "failed", "crashed")
_OUTPUTS = ("output", "sr", "uncertainty", "labels", "outlines", "overlay")


@dataclass(frozen=True)
class StudyRecord:
    """What became of one study.

    Attributes:
        study: what it is called.
        fingerprint: of its files, see `monai_dis.cohort.study.CohortStudy.fingerprint`.
        settings: SHA-256 of what the result depends on besides the study.
        status: one of `STATUSES`.
        outputs: files by what they are.
        seconds: by stage, ``total`` among them.
        operations: multiply-accumulates; 0 where nothing was computed.
        findings: about the input, as the DICOM checks give them.
        reason: a sentence, unless the study is done.
        kept: whether it was done by an earlier run.
        worker: name of the process that did it.

    Example:
        >>> StudyRecord.of_line(StudyRecord("a", "b", "c", "done").line()).status
        'done'
    """

    study: str
    fingerprint: str
    settings: str
    status: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    operations: int = 0
    findings: tuple[Mapping[str, Any], ...] = ()
    reason: str | None = None
    kept: bool = False
    worker: str = ""

    @classmethod
    def of_entry(
        cls, study: str, fingerprint: str, settings: str, entry: Mapping[str, Any], worker: str = ""
    ) -> StudyRecord:
        """The record of an entry of a report.

        Args:
            study: what the study is called.
            fingerprint: of its files.
            settings: digest of the settings.
            entry: of `monai_dis.engines.segment.Segmenter.segment` or `monai_dis.dicom.segmenting.DicomSegmenter.segment`.
            worker: name of the process.
        """
        reason = entry.get("error")
        status = "done" if reason is None else "refused" if entry.get("refused") else "failed"
        files = {key: entry[key] for key in _OUTPUTS if entry.get(key)}
        files |= {f"mask {name}": path for name, path in entry.get("masks", {}).items()}
        return cls(
            study,
            fingerprint,
            settings,
            status,
            files if reason is None else {},
            dict(entry.get("seconds", {})),
            int(entry.get("operations", 0)),
            tuple(entry.get("findings", ())),
            reason,
            bool(entry.get("kept", False)),
            worker,
        )

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to do: the study is done and its files are there, or it was refused."""
        return self.status == "refused" or (
            self.status == "done" and all(Path(file).is_file() for file in self.outputs.values())
        )

    def line(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def of_line(cls, line: str) -> StudyRecord:
        """The record of a line.

        Raises:
            ValueError: when it is none.
        """
        try:
            content = json.loads(line)
            record = cls(**{**content, "findings": tuple(content["findings"])})
        except (TypeError, KeyError) as error:
            raise ValueError("the line is no record of a study") from error
        if record.status not in STATUSES:
            raise ValueError(f"the status {record.status!r} is unknown")
        return record
