"""What became of one study: a line of the ledger, and what reports show of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["STATUSES", "Record", "output_files"]

#: ``done``: segmented. ``refused``: it cannot be segmented, and the reason says why. ``skipped``: it is nothing for this bundle, beside
#: what is. ``failed``: something unforeseen. ``crashed``: the process that segmented it died of it, each time it was tried.
STATUSES = ("done", "refused", "skipped", "failed", "crashed")
_OUTPUTS = ("output", "sr", "uncertainty", "labels", "outlines", "overlay")

Entry = Mapping[str, Any]


def output_files(entry: Entry) -> dict[str, str]:
    """The files of a result by what they are."""
    files = {key: str(entry[key]) for key in _OUTPUTS if entry.get(key)}
    return files | {f"mask {name}": str(path) for name, path in entry.get("masks", {}).items()}


@dataclass(frozen=True)
class Record:
    """What became of one study.

    Attributes:
        study: what it is called.
        kind: of study, such as ``"image"``.
        place: where it lies, unlike that of any other study.
        stem: with which the names of its files begin.
        fingerprint: SHA-256 of its content.
        settings: SHA-256 of what the result depends on besides the study.
        status: one of `STATUSES`.
        entry: what the report says of it, in plain JSON types.
        kept: whether it was done by an earlier run.
        worker: the process that did it.

    Example:
        >>> Record.of_content(json.loads(Record("a", "image", "/a.png", "a", "f", "s", "done").line())).status
        'done'
    """

    study: str
    kind: str
    place: str
    stem: str
    fingerprint: str
    settings: str
    status: str
    entry: Entry = field(default_factory=dict, repr=False)
    kept: bool = False
    worker: str = ""

    @property
    def outputs(self) -> dict[str, str]:
        """Files by what they are; none unless the study is done."""
        return output_files(self.entry) if self.status == "done" else {}

    @property
    def seconds(self) -> Mapping[str, float]:
        """By stage, ``total`` among them."""
        return dict(self.entry.get("seconds", {}))

    @property
    def operations(self) -> int:
        """Multiply-accumulates; 0 where nothing was computed."""
        return int(self.entry.get("operations", 0))

    @property
    def findings(self) -> tuple[Mapping[str, Any], ...]:
        """About the input: code, policy, message and instances of each."""
        return tuple(self.entry.get("findings", ()))

    @property
    def reason(self) -> str | None:
        """A sentence, unless the study is done."""
        return self.entry.get("error") or self.entry.get("skipped")

    def is_whole(self, folder: Path) -> bool:
        """Whether the study is done and all its files are in the output folder."""
        return self.status == "done" and all((folder / Path(file).name).is_file() for file in self.outputs.values())

    def line(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Record | None:
        """The record that `line` wrote; None when it is none."""
        try:
            record = cls(**content)
        except TypeError:
            return None
        return record if record.status in STATUSES and isinstance(record.entry, dict) else None
