"""A hundred studies with and without workers: equal files, what dies, what it costs. Writes docs/cohort_results.json and a table.

    python benchmarks/cohort.py --volumes FOLDER --bundle left_atrium_mr_dis --output OUT

Studies are made of the NIfTI volumes of a folder (crops, shifts, other intensities); two are broken, and one kills whoever reads it, by a
transform that a copy of the bundle is given. They are segmented in one process with all cores, in one with as many threads as a worker
has, whose files are to be equal (PyTorch adds up in an order that depends on the number of threads), and then by two workers, of which one
and then the command itself are killed with -9; the command is started again and must end with nothing lost and nothing twice.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
from documents import write_json, write_marked

from monai_dis.bundle import find_bundle
from monai_dis.pipeline.on_dask import threads_each

PAGE = Path(__file__).parents[1] / "docs" / "cohorts.md"
RESULTS = PAGE.with_name("cohort_results.json")
DEADLY = 31_000  # the largest value of the study that kills
READ = "  - _target_: monai_dis.data.ReadImaged\n    keys: image\n"
KILL = (
    "  - _target_: Lambdad\n    keys: image\n"
    f'    func: "$lambda image: os.kill(os.getpid(), 9) if float(image.max()) == {DEADLY} else image"\n'
)


def main() -> None:
    options = _options()
    studies, bundle = options.output / "studies", options.output / "bundle"
    if not studies.is_dir():
        _make(sorted(options.volumes.glob("*.nii.gz")), studies, options.studies)
    if not bundle.is_dir():
        shutil.copytree(find_bundle(options.bundle), bundle)
        config = bundle / "configs" / "inference.yaml"
        text = config.read_text(encoding="utf-8")
        assert READ in text
        config.write_text(text.replace(READ, READ + KILL, 1).replace("imports:\n", "imports:\n- $import os\n", 1))
    alone, like_worker, shared = (options.output / each for each in ("alone", "like_worker", "workers"))
    for folder in (alone, like_worker, shared):
        shutil.rmtree(folder, ignore_errors=True)
    harmless = [file for file in sorted(studies.iterdir()) if file.stem.split(".")[0] != "deadly"]
    threads = threads_each(options.workers)
    seconds_alone = _alone(_command(bundle, alone, *harmless))
    seconds_like_worker = _alone(_command(bundle, like_worker, *harmless), threads)
    print(f"one process: {seconds_alone:.0f} s, with {threads} thread(s): {seconds_like_worker:.0f} s", flush=True)
    command = _command(bundle, shared, studies, "--workers", str(options.workers))
    first = _killed(command, shared, options.studies)
    again = _watched(command)
    print(f"killed after {first['seconds']:.0f} s, again {again['seconds']:.0f} s, exit {again['exit']}", flush=True)
    lines = _records(shared)
    last = {line["study"]: line for line in lines}
    files = [file for file in sorted(like_worker.iterdir()) if file.name.endswith(("_seg.nii.gz", "_overlay.png"))]
    results = {
        "studies": options.studies,
        "workers": options.workers,
        "seconds_alone": seconds_alone,
        "threads": threads,
        "seconds_like_worker": seconds_like_worker,
        "seconds_until_killed": first["seconds"],
        "seconds_again": again["seconds"],
        "status": dict(Counter(line["status"] for line in last.values())),
        # without the place of the folder, which is another on each machine
        "reasons": {
            name: line["entry"]["error"].replace(f"{studies}/", "")
            for name, line in last.items()
            if "error" in line["entry"]
        },
        "done_twice": sum(
            count - 1 for count in Counter(each["study"] for each in lines if each["status"] == "done").values()
        ),
        "files_compared": len(files),
        "files_equal": sum(file.read_bytes() == (shared / file.name).read_bytes() for file in files),
        "memory_mb": {key: max(first[key], again[key]) for key in ("command_mb", "worker_mb")},
    }
    write_json(RESULTS, results)
    write_marked(PAGE, "cohort", _table(results))
    print(_table(results))


def _make(volumes: list[Path], folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count - 3):
        source: Any = nib.load(volumes[number % len(volumes)])
        values = np.asarray(source.dataobj)
        low = [int(rng.integers(0, max(1, n // 8))) for n in values.shape]
        high = [n - int(rng.integers(0, max(1, n // 8))) for n in values.shape]
        part = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
        changed = part * rng.uniform(0.7, 1.4) + rng.uniform(0, 20)
        affine = source.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        nib.save(nib.Nifti1Image(changed.astype(np.int16), affine), folder / f"study{number:03}.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no volume")
    whole = (folder / "study000.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(gzip.compress(gzip.decompress(whole)[:5000]))
    deadly = np.zeros((64, 64, 32), np.int16)
    deadly[0, 0, 0] = DEADLY
    nib.save(nib.Nifti1Image(deadly, np.diag([0.625, 0.625, 0.625, 1])), folder / "deadly.nii.gz")


def _command(bundle: Path, output: Path, *more: Any) -> list[str]:
    return [
        sys.executable, "-m", "monai_dis", "segment", *map(str, more), "-b", str(bundle), "-o", str(output), "--device", "cpu",
    ]  # fmt: skip


def _alone(command: list[str], threads: int | None = None) -> float:
    """Seconds of a run in one process."""
    start = time.monotonic()
    env = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    return time.monotonic() - start


def _killed(command: list[str], output: Path, studies: int) -> dict[str, float]:
    """Kill a worker after a quarter of the studies and the command after a half."""

    def count() -> int:
        return len(_records(output))

    killed = False

    def look(process: psutil.Process) -> bool:
        nonlocal killed
        if not killed and count() >= studies // 4:
            os.kill(_workers(process)[0].pid, signal.SIGKILL)
            killed = True
        return count() < studies // 2

    return _watched(command, look)


def _records(output: Path) -> list[dict[str, Any]]:
    """The records of a ledger, the last of which may be half-written."""
    file, found = output / "manifest.jsonl", []
    for line in file.read_text().splitlines() if file.is_file() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if "claims" not in line]


def _watched(command: list[str], go_on: Any = lambda process: True) -> dict[str, float]:
    """Run a command, and look at its memory and that of its workers; killed with -9 when ``go_on`` says no."""
    start, most = time.monotonic(), {"command_mb": 0.0, "worker_mb": 0.0}
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = psutil.Process(running.pid)
    while running.poll() is None:
        try:
            most["command_mb"] = max(most["command_mb"], process.memory_info().rss / 1e6)
            for worker in _workers(process):
                most["worker_mb"] = max(most["worker_mb"], worker.memory_info().rss / 1e6)
            if not go_on(process):
                running.kill()
        except (psutil.NoSuchProcess, IndexError):
            pass
        time.sleep(0.2)
    return {**most, "seconds": time.monotonic() - start, "exit": running.returncode}


def _workers(process: psutil.Process) -> list[psutil.Process]:
    return [each for each in process.children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


def _table(results: dict[str, Any]) -> str:
    lines = [
        "| | |",
        "|---|---|",
        f"| studies | {results['studies']}: {', '.join(f'{n} {status}' for status, n in sorted(results['status'].items()))} |",
        f"| one process, all cores | {results['seconds_alone']:.0f} s |",
        f"| one process, {results['threads']} thread(s), as a worker has | {results['seconds_like_worker']:.0f} s |",
        f"| {results['workers']} workers, one killed, then the command killed half-way | {results['seconds_until_killed']:.0f} s |",
        f"| the same command again | {results['seconds_again']:.0f} s |",
        f"| done twice | {results['done_twice']} |",
        f"| files equal, byte for byte, to those of one process with as many threads | "
        f"{results['files_equal']} of {results['files_compared']} |",
        f"| memory of the command with the scheduler, of a worker | {results['memory_mb']['command_mb']:.0f} MB, "
        f"{results['memory_mb']['worker_mb']:.0f} MB |",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=Path, required=True, help="folder of NIfTI volumes")
    parser.add_argument("--bundle", required=True, help="name or folder of a bundle for them")
    parser.add_argument("--output", type=Path, required=True, help="folder for studies and results")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
