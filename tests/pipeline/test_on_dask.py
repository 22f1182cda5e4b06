"""Cohorts on real workers: the files of a run without them, studies and processes that die, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("distributed")

import psutil
from command_line import call

pytestmark = pytest.mark.slow

NAMES = [f"photo{number}.png" for number in range(6)]


def lines(folder: Path) -> list[dict[str, object]]:
    """The records of the ledger, without the names that were claimed."""
    found = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [line for line in found if "claims" not in line]


def segmentations(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.png")}


def command(pictures: Path, bundle: Path, output: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "monai_dis", "segment", str(pictures), "-b", str(bundle), "-o", str(output), "--device", "cpu", *more,
    ]  # fmt: skip


def test_two_workers_write_the_files_of_none(deadly_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """A broken study is refused, a deadly one set aside; both with a reason, and the others are what they are without workers."""
    done = subprocess.run(
        command(pictures, deadly_bundle, tmp_path / "out", "--workers", "2"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 1, done.stderr
    assert "photo3b.png killed the process" in done.stderr and "photo2b.png" in done.stderr
    records = lines(tmp_path / "out")
    assert sorted((str(r["study"]), str(r["status"])) for r in records) == sorted(
        [*((name, "done") for name in NAMES), ("photo2b.png", "refused"), ("photo3b.png", "crashed")]
    )
    assert len({r["worker"] for r in records if r["status"] == "done"}) >= 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    # one may have been done by a worker that died before it could say so, and found by the next
    assert report["summary"]["done"] + report["summary"]["kept"] == 6 and report["summary"]["failed"] == 2
    assert (tmp_path / "out" / "report.html").is_file()

    (pictures / "photo3b.png").unlink()
    assert call("segment", pictures, "-b", deadly_bundle, "-o", tmp_path / "alone", "--device", "cpu") == 1
    assert segmentations(tmp_path / "out") == segmentations(tmp_path / "alone")

    # what is done is not done again; what was refused is said again
    again = subprocess.run(
        command(pictures, deadly_bundle, tmp_path / "out", "--workers", "1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert again.returncode == 1, again.stderr
    assert [r for r in lines(tmp_path / "out") if r["status"] == "done"] == [
        r for r in records if r["status"] == "done"
    ]
    assert again.stdout.count("kept ") == 6 and again.stdout.count("refused ") == 1


@contextmanager
def running(arguments: list[str]) -> Iterator[psutil.Process]:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def until(what: object, patience_s: float = 240) -> None:
    deadline = time.monotonic() + patience_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [each for each in process.children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


def test_killed_workers_and_clients_lose_nothing_and_repeat_nothing(
    deadly_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "photo3b.png").unlink()
    output, arguments = tmp_path / "out", command(pictures, deadly_bundle, tmp_path / "out", "--workers", "2")

    def count() -> int:
        return len(lines(output)) if (output / "manifest.jsonl").is_file() else 0

    with running(arguments) as client:
        until(lambda: count() >= 1)
        victim = workers_of(client)[0]
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: count() >= 3)
        children = client.children(recursive=True)
        os.kill(client.pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=60)
    assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1, done.stderr  # one is refused
    finished = [str(r["study"]) for r in lines(output) if r["status"] == "done"]
    assert sorted(finished) == sorted(NAMES)  # nothing lost, nothing twice
    assert call("segment", pictures, "-b", deadly_bundle, "-o", tmp_path / "alone", "--device", "cpu") == 1
    assert segmentations(output) == segmentations(tmp_path / "alone")
    assert not list(output.glob(".*"))  # no unfinished file


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--workers", "2", "--cluster", "tcp://127.0.0.1:1"], "not both"),
        (["--workers", "2", "--shard", "1/2"], "leave it out"),
        (["--workers", "0"], "greater than or equal to 1"),
        (["--cluster", "tcp://127.0.0.1:1"], "no Dask cluster at tcp://127.0.0.1:1"),
    ],
)
def test_what_does_not_go_together_is_refused(
    more: list[str], words: str, deadly_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        command(pictures, deadly_bundle, tmp_path / "out", *more),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode != 0 and words in " ".join(done.stderr.replace("│", " ").split()), done.stderr


def test_a_cluster_that_exists_is_used(deadly_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    (pictures / "photo3b.png").unlink()
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster:
        arguments = command(pictures, deadly_bundle, tmp_path / "out", "--cluster", cluster.scheduler_address)
        assert subprocess.run(arguments, check=False, timeout=600).returncode == 1  # one is refused
    assert len(lines(tmp_path / "out")) == 7


def test_a_cluster_of_ours_that_lost_all_workers_gets_new_ones(
    deadly_bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_dis.pipeline import Options, Record, RunSettings, on_dask
    from monai_dis.pipeline.run import run

    monkeypatch.setattr(on_dask, "_PATIENCE_S", 2.0)
    (pictures / "photo3b.png").unlink()
    with on_dask.local_cluster(1) as client:

        def lose(done: int, total: int, record: Record) -> None:
            if done == 2:
                client.cluster.scale(0)

        execute = on_dask.on_workers(RunSettings(str(deadly_bundle), {"device": "cpu"}), client)
        report = run([pictures], tmp_path / "out", execute, options=Options(), settings={}, on_record=lose)
    records = report.records
    assert [(r.study, r.status) for r in records if r.status != "done"] == [("photo2b.png", "refused")]
    assert len({r.worker for r in records}) >= 2
    assert Counter(str(each["study"]) for each in lines(tmp_path / "out")) == Counter(r.study for r in records)
