"""A tree of studies: found, segmented study by study, resumed after a kill, shared among jobs; nothing twice, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from command_line import call
from dicom_files import write_zip
from dicom_objects import Identity, ct_series
from dicom_phantom import Grid, phantom
from dicom_study import save_shuffled

from monai_dis.checks.limits import Limits
from monai_dis.dicom.studies import find_studies
from monai_dis.pipeline import Ledger
from monai_dis.pipeline.overlapping import overlapped

SMALL = replace(Grid(), columns=28, rows=16, slices=17)


def write_study(folder: Path, name: str, series: int = 1, grid: Grid = SMALL) -> None:
    data = ct_series(replace(Identity(name), series=series), grid, phantom(grid))
    save_shuffled(data, folder)


def small_tree(root: Path, names: str) -> Path:
    """Studies in folders of their own, whose names are a person's."""
    for name in names:
        write_study(root / f"CANARY^{name}", name)
    return root


def test_each_folder_of_a_tree_is_a_study(tmp_path: Path) -> None:
    root = small_tree(tmp_path, "ab")
    write_study(root / "CANARY^b" / "deeper", "b", series=2)  # the same study: its second series
    write_study(root / "c" / "first", "c")
    write_study(root / "c" / "second", "d")
    (root / "e").mkdir()
    (root / "e" / "notes.txt").write_text("nothing of DICOM here")
    (root / "list.csv").write_text("a,b")
    write_zip(root / "f" / "study.zip", [("x", b"x")])
    studies = find_studies(root, Limits())
    assert [len(study.paths) for study in studies] == [17, 34, 17, 17, 1, 1]
    assert [study.place for study in studies] == [1, 2, 3, 4, 5, 6]
    assert [bool(study.uid) for study in studies] == [True] * 4 + [False] * 2
    assert "CANARY" not in "".join(study.label for study in studies)


def test_a_folder_of_one_study_is_not_a_tree(tmp_path: Path) -> None:
    write_study(tmp_path / "one", "a")
    write_study(tmp_path / "two", "a", series=2)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "readme").write_text("x")
    assert [study.paths for study in find_studies(tmp_path, Limits())] == [(tmp_path,)]


def test_results_in_the_tree_are_not_looked_into(tmp_path: Path) -> None:
    root = small_tree(tmp_path, "ab")
    write_study(root / "out", "c")
    assert len(find_studies(root, Limits())) == 3
    assert len(find_studies(root, Limits(), leave_out=root / "out")) == 2


def test_three_items_at_most_are_held_and_steps_run_at_once() -> None:
    held, most, log = set(), 0, []

    def read(item: int) -> int:
        nonlocal most
        held.add(item)
        most = max(most, len(held))
        log.append(f"read {item}")
        return item

    def work(item: int, loaded: int) -> int:
        deadline = time.monotonic() + 20
        while item < 9 and f"read {item + 1}" not in log:  # the next one is read while this one is worked on
            assert time.monotonic() < deadline
            time.sleep(0.001)
        log.append(f"work {item}")
        return loaded

    def write(item: int, answer: int) -> int:
        time.sleep(0.005)
        held.discard(item)
        return answer

    assert list(overlapped(range(10), read, work, write)) == list(range(10))
    assert most <= 3
    assert list(overlapped([], read, work, write)) == []


@pytest.mark.parametrize("step", ["read", "work", "write"])
def test_an_error_ends_the_run_and_what_was_begun_is_written(step: str) -> None:
    written = []

    def at(name: str, item: int) -> int:
        if name == step and item == 2:
            raise OSError(name)
        if name == "write":
            written.append(item)
        return item

    steps = overlapped(range(6), lambda i: at("read", i), lambda i, _: at("work", i), lambda i, _: at("write", i))
    with pytest.raises(OSError, match=step):
        list(steps)
    assert written[:2] == [0, 1]
    assert 4 not in written


def test_mixed_folders_are_refused_and_the_others_done(
    volume_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = small_tree(tmp_path / "in", "ab")
    data = ct_series(Identity("c", patient="second"), SMALL, phantom(SMALL))
    save_shuffled(data, root / "CANARY^c")
    for path in (root / "CANARY^c").iterdir():  # and a second study among the files of another
        (root / "CANARY^b" / f"z{path.name}").write_bytes(path.read_bytes())
    assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out") == 1
    images = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    assert ["error" in each for each in images] == [False, True, False]
    printed = capfd.readouterr()
    assert "STUDY_MIXED" in printed.err
    assert "PATIENT_MIXED" in printed.err
    everything = printed.out + printed.err + (tmp_path / "out" / "report.json").read_text()
    assert "CANARY" not in everything


def test_the_same_study_in_two_places_is_segmented_once(volume_bundle: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_study(tmp_path / name, "a")
    assert call("segment", tmp_path / "one", tmp_path / "two", "-b", volume_bundle, "-o", tmp_path / "out") == 0
    images = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    assert [each.get("kept", False) for each in images] == [False, True]
    assert images[0]["sop_instance_uid"] == images[1]["sop_instance_uid"]
    assert len(list((tmp_path / "out").glob("*.seg.dcm"))) == 1


def test_shares_write_to_one_folder(volume_bundle: Path, tmp_path: Path) -> None:
    root = small_tree(tmp_path / "in", "abc")
    for share in ("1/2", "2/2"):
        assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out", "--shard", share) == 0
    counts = [
        json.loads((tmp_path / "out" / f"report-{number}-of-2.json").read_text())["summary"]["done"]
        for number in (1, 2)
    ]
    assert counts == [2, 1]
    assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "report.json").read_text())["summary"]
    assert (summary["done"], summary["kept"]) == (0, 3)
    assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out", "--shard", "3/2") == 2


def test_a_full_disk_leaves_whole_files_and_is_said_once(
    volume_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file may grow beyond 20 kB: the SEG of a study does not fit, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    root = small_tree(tmp_path / "in", "abc")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails with an error instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "make room or choose another folder" in capfd.readouterr().err
    for path in (tmp_path / "out").iterdir():
        assert not path.name.startswith(".part-")
        assert path.suffix != ".dcm" or pydicom.dcmread(path).SOPInstanceUID
    assert call("segment", root, "-b", volume_bundle, "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").glob("*.seg.dcm"))) == 3


@pytest.mark.slow
def test_a_cohort_that_was_killed_is_finished(volume_bundle: Path, tmp_path: Path) -> None:
    """Twenty studies, three of them bad: one lacks a slice, one is cut short, one is no DICOM at all."""
    root, out = tmp_path / "in", tmp_path / "out"
    for number in range(20):
        write_study(root / f"CANARY {number:02d}", f"study {number}")
    next(p for p in (root / "CANARY 03").iterdir() if pydicom.dcmread(p).InstanceNumber == 9).unlink()
    cut = next((root / "CANARY 08").iterdir())
    cut.write_bytes(cut.read_bytes()[:-100])
    for path in (root / "CANARY 15").iterdir():
        path.write_bytes(b"no DICOM")
    command = [sys.executable, "-m", "monai_dis", "segment", root, "-b", volume_bundle, "-o", out]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 300
    while len(list(out.glob("*.sr.dcm"))) < 6:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended = [record for record in Ledger(out).records().values() if record.status == "done"]
    done = {Path(record.outputs["output"]): Path(record.outputs["output"]).stat().st_mtime_ns for record in ended}
    assert 5 <= len(done) < 17
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert {path: path.stat().st_mtime_ns for path in done} == done  # nothing twice
    segs = [pydicom.dcmread(path) for path in out.glob("*.seg.dcm")]
    assert len(segs) == len({seg.StudyInstanceUID for seg in segs}) == 17  # nothing lost
    assert len(list(out.glob("*.sr.dcm"))) == 17
    assert not list(out.glob(".part-*"))
    report = json.loads((out / "report.json").read_text())
    assert (report["summary"]["failed"], report["summary"]["kept"]) == (3, len(done))
    assert report["summary"]["done"] == 17 - len(done)
    failed = [entry for entry in report["images"] if "error" in entry]
    codes = [{each["code"] for each in entry["findings"] if each["policy"] == "reject"} for entry in failed]
    assert codes[0] == {"SLICE_GAP"}
    assert "FILE_TRUNCATED" in codes[1]
    assert codes[2] == {"INPUT_EMPTY"}
    assert second.stderr.count("rejected") == 3
    assert "CANARY" not in (out / "manifest.jsonl").read_text()
    assert "CANARY" not in second.stdout + second.stderr + json.dumps(report)
    assert second.stdout.count("study ") == 20  # a line each
