"""The ledger: lines of many processes, torn lines, names that are claimed, what is whole, and folders of version 0.1."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from monai_dis.errors import OutputError
from monai_dis.pipeline import Ledger, Record
from monai_dis.pipeline.ledger import known_results

ENTRY = {"input": "/in/a.png", "seconds": {"total": 1.5}, "operations": 7, "findings": [{"code": "X"}]}
DONE = Record("a.png", "image", "/in/a.png", "a", "content", "settings", "done", ENTRY)


def test_a_record_is_a_line_and_back() -> None:
    assert DONE.line().count("\n") == 1
    assert Record.of_content(json.loads(DONE.line())) == DONE


@pytest.mark.parametrize(
    "content",
    [{}, {"study": "a"}, {**json.loads(DONE.line()), "status": "sleeping"}, {**json.loads(DONE.line()), "more": 1}],
)
def test_what_is_no_record_is_none(content: dict[str, object]) -> None:
    assert Record.of_content(content) is None


def test_a_record_gives_what_its_entry_says() -> None:
    record = replace(DONE, entry={**ENTRY, "output": "/out/o", "masks": {"b": "/out/m"}})
    assert record.outputs == {"output": "/out/o", "mask b": "/out/m"}
    assert (record.operations, record.seconds["total"], record.findings[0]["code"]) == (7, 1.5, "X")
    assert record.reason is None
    refused = replace(record, status="refused", entry={**record.entry, "error": "too large"})
    assert refused.outputs == {} and refused.reason == "too large"


def test_the_last_line_about_a_place_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.records() == {}
    ledger.append(replace(DONE, status="failed", stem="", entry={"error": "no"}))
    ledger.append(DONE)
    with ledger.path.open("a") as file:
        file.write('{"study": "b", "finger')  # a process was killed here
    assert ledger.records() == {DONE.place: DONE}
    ledger.append(replace(DONE, place="/in/c.png", stem="c"))
    assert set(ledger.records()) == {"/in/a.png", "/in/c.png"} == set(Ledger(tmp_path).records())
    found = Ledger(tmp_path).of_stem("c")
    assert found is not None and found.place == "/in/c.png"


def test_whole_is_what_is_done_and_there(tmp_path: Path) -> None:
    output = tmp_path / "a_seg.png"
    record = replace(DONE, entry={"output": str(output)})
    assert not record.is_whole(tmp_path)
    output.touch()
    assert record.is_whole(tmp_path)
    for status in ("refused", "failed", "crashed", "skipped"):
        assert not replace(record, status=status).is_whole(tmp_path)


def test_a_stem_belongs_to_one_place_for_good(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    assert first.claim({"/p1/eye.png": "eye"}) == {"/p1/eye.png": "eye"}
    # another run, at once or later, whose file has the same name
    assert second.claim({"/p2/eye.png": "eye"}) == {"/p2/eye.png": "eye_2"}
    assert first.claim({"/p2/eye.png": "eye", "/p1/eye.png": "eye"}) == {"/p2/eye.png": "eye_2", "/p1/eye.png": "eye"}
    assert Ledger(tmp_path).claim({"/p1/EYE.png": "EYE"}) == {"/p1/EYE.png": "EYE_3"}


def test_files_that_no_run_wrote_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "eye_seg_1-drusen.png").touch()
    assert Ledger(tmp_path).claim({"/in/eye.png": "eye"}) == {"/in/eye.png": "eye_2"}


def test_an_answer_that_is_an_input_now_is_not_overwritten(tmp_path: Path) -> None:
    ledger, answer = Ledger(tmp_path), tmp_path / "eye_seg.png"
    ledger.claim({"/in/eye.png": "eye"})
    answer.touch()
    assert ledger.claim({"/in/eye.png": "eye"}) == {"/in/eye.png": "eye"}
    again = ledger.claim({"/in/eye.png": "eye", str(answer): "eye_seg"}, [answer])
    assert again == {"/in/eye.png": "eye_2", str(answer): "eye_seg"}


def test_many_processes_append_whole_lines_and_claim_names_of_their_own(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from monai_dis.pipeline import Ledger, Record; ledger = Ledger(Path(sys.argv[1])); "
        "[ledger.append(Record('s', 'image', f'/{sys.argv[2]}/{n}', ledger.claim({f'/{sys.argv[2]}/{n}': 'eye'})[f'/{sys.argv[2]}/{n}'],"
        " 'f' * 5000, 's', 'done')) for n in range(25)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    records = Ledger(tmp_path).records()
    assert len(records) == 75 == len({record.stem for record in records.values()})
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        Ledger(tmp_path / "missing").append(DONE)


def old_folder(tmp_path: Path) -> tuple[Path, Path]:
    """An output folder as version 0.1 left it: a report of one image, a manifest of another, a DICOM result."""
    image, out = tmp_path / "eye.png", tmp_path / "out"
    image.write_bytes(b"pixels")
    out.mkdir()
    for name in ("eye_seg.png", "eye_overlay.png", "other_seg.png", "1.2.3.seg.dcm"):
        (out / name).touch()
    status = image.stat()
    source = {
        "path": str(image),
        "stem": "eye",
        "settings": "s",
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
    }
    entry = {
        "input": str(image),
        "output": "/moved/out/eye_seg.png",
        "overlay": "/moved/out/eye_overlay.png",
        "source": source,
    }
    (out / "report.json").write_text(json.dumps({"format": 1, "images": [entry]}))
    line = {
        "study": "other",
        "fingerprint": "f",
        "settings": "s",
        "status": "done",
        "outputs": {"output": "/o/other_seg.png"},
        "findings": [],
    }
    (out / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    (out / "1.2.3.result.json").write_text(json.dumps({"sop_instance_uid": "1.2.3", "output": "/o/1.2.3.seg.dcm"}))
    return image, out


def test_folders_of_version_0_1_are_read(tmp_path: Path) -> None:
    image, out = old_folder(tmp_path)
    ledger = Ledger(out)
    record = ledger.of_place(str(image))
    assert record is not None and (record.stem, record.settings, record.is_whole(out)) == ("eye", "s", True)
    uid = ledger.of_stem("1.2.3")
    assert uid is not None and uid.kind == "dicom"
    # names stay taken, and what is there is known as an answer
    assert ledger.claim({"/elsewhere/other.png": "other", str(image): "eye"}) == {
        "/elsewhere/other.png": "other_2",
        str(image): "eye",
    }
    names = {path.name for path in known_results(out)}
    assert names == {"eye_seg.png", "eye_overlay.png", "other_seg.png", "1.2.3.seg.dcm"}
    (out / "eye_seg.png").unlink()
    assert Ledger(out).of_place(str(image)) is None
