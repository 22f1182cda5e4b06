"""The manifest: lines of many processes, torn lines, and what counts as settled."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from monai_dis.cohort import Manifest, StudyRecord
from monai_dis.errors import OutputError

DONE = StudyRecord("a", "files", "settings", "done", seconds={"total": 1.5}, operations=7, findings=({"code": "X"},))


def test_a_record_is_a_line_and_back() -> None:
    assert DONE.line().count("\n") == 1
    assert StudyRecord.of_line(DONE.line()) == DONE


@pytest.mark.parametrize("line", ["", "{", "[]", '{"study": "a"}', DONE.line().replace("done", "sleeping")])
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        StudyRecord.of_line(line)


@pytest.mark.parametrize(
    ("entry", "status", "reason"),
    [
        ({"output": "o", "masks": {"b": "m"}, "seconds": {"total": 1}, "operations": 3}, "done", None),
        ({"error": "too large", "refused": True}, "refused", "too large"),
        ({"error": "strange"}, "failed", "strange"),
    ],
)
def test_an_entry_of_a_report_becomes_a_record(entry: dict[str, object], status: str, reason: str | None) -> None:
    record = StudyRecord.of_entry("a", "f", "s", entry)
    assert (record.status, record.reason) == (status, reason)
    assert record.outputs == ({"output": "o", "mask b": "m"} if status == "done" else {})


def test_the_last_line_about_a_study_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.records() == {}
    manifest.append(replace(DONE, status="failed", reason="no"))
    manifest.append(DONE)
    with manifest.path.open("a") as file:
        file.write('{"study": "b", "finger')  # a process was killed here
    assert manifest.records() == {"a": DONE}
    manifest.append(replace(DONE, study="c"))
    assert set(manifest.records()) == {"a", "c"} == set(Manifest(tmp_path).records())


def test_settled_is_what_is_whole_and_unchanged(tmp_path: Path) -> None:
    manifest, output = Manifest(tmp_path), tmp_path / "a_seg.png"
    output.touch()
    manifest.append(replace(DONE, outputs={"output": str(output)}))
    assert manifest.settled("a", "files", "settings") is not None
    assert manifest.settled("a", "other files", "settings") is None
    assert manifest.settled("a", "files", "other settings") is None
    assert manifest.settled("b", "files", "settings") is None
    output.unlink()
    assert manifest.settled("a", "files", "settings") is None
    for status, settled in (("refused", True), ("failed", False), ("crashed", False)):
        manifest.append(replace(DONE, status=status, reason="why"))
        assert (manifest.settled("a", "files", "settings") is not None) == settled


def test_many_processes_append_whole_lines(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from monai_dis.cohort.manifest import Manifest; "
        "from monai_dis.cohort.record import StudyRecord; manifest = Manifest(Path(sys.argv[1])); "
        "[manifest.append(StudyRecord(f'{sys.argv[2]}-{n}', 'f' * 5000, 's', 'done')) for n in range(40)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert len({json.loads(line)["study"] for line in lines}) == len(lines) == 120


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        Manifest(tmp_path / "missing").append(DONE)
