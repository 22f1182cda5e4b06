"""Runs that end early: whole files only, and a second run finishes the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_dis.bundle import load_bundle
from monai_dis.errors import ImageError
from monai_dis.pipeline import Record


def run(bundle: Path, images: list[Path] | Path, output: Path, **overrides: Any) -> dict[str, Any]:
    files = [str(path) for path in images] if isinstance(images, list) else [str(images)]
    report: dict[str, Any] = load_bundle(
        bundle, image_files=files, output_dir=str(output), device="cpu", **overrides
    ).run()
    return report


def states(report: dict[str, Any]) -> list[str]:
    return ["failed" if "error" in e else "kept" if e.get("kept") else "done" for e in report["images"]]


def copies(photo: Path, count: int) -> list[Path]:
    folder = photo.parent / "many"
    folder.mkdir()
    paths = [folder / f"photo_{number:03d}.png" for number in range(count)]
    for path in paths:
        path.write_bytes(photo.read_bytes())
    return paths


def test_a_second_run_keeps_what_is_complete(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    images = copies(photo, 3)
    first = run(tiny_bundle, images[:2], tmp_path / "out")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    second = run(tiny_bundle, images, tmp_path / "out")
    assert states(first) == ["done", "done"]
    assert states(second) == ["kept", "kept", "done"]
    assert second["summary"] | {"seconds": 0, "peak_memory_bytes": 0} == {
        "images": 3, "done": 1, "kept": 2, "failed": 0, "windows_refined": 12, "windows_total": 48,
        "operations": sum(entry["operations"] for entry in second["images"]), "seconds": 0, "peak_memory_bytes": 0,
        "mean_fraction_of_full_pass": pytest.approx(first["images"][0]["fraction_of_full_pass"]),
        "mean_fraction_of_sliding_window": pytest.approx(first["images"][0]["fraction_of_sliding_window"]),
    }  # fmt: skip
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in times} == times


@pytest.mark.parametrize("change", ["settings", "weights", "input", "output", "overlay", "overwrite"])
def test_what_changed_is_done_again(change: str, tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(tiny_bundle, photo, out)
    overrides: dict[str, Any] = {}
    if change == "settings":
        overrides["windows"] = 2
    elif change == "weights":
        import torch

        state = torch.load(tiny_bundle / "models" / "model.pt", weights_only=True)
        torch.save({key: value * 2 for key, value in state.items()}, tiny_bundle / "models" / "model.pt")
    elif change == "input":
        Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(photo)
    elif change == "overwrite":
        overrides["overwrite"] = True
    else:
        next(out.glob("*_seg.png" if change == "output" else "*_overlay.png")).unlink()
    assert states(run(tiny_bundle, photo, out, **overrides)) == ["done"]
    assert len(list(out.glob("*.png"))) == 2


def test_a_failed_image_is_tried_again(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    good = photo.read_bytes()
    photo.write_bytes(good[:100])
    with pytest.raises(ImageError, match=r"disc\.png"):
        run(tiny_bundle, photo, tmp_path / "out")
    photo.write_bytes(good)
    assert states(run(tiny_bundle, photo, tmp_path / "out")) == ["done"]


def test_results_of_earlier_runs_stay_in_the_report_and_on_disk(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "eye.png", tmp_path / "two" / "eye.png"
    for path in (one, two):
        path.parent.mkdir()
        path.write_bytes(photo.read_bytes())
    run(tiny_bundle, one, tmp_path / "out")
    second = run(tiny_bundle, two, tmp_path / "out")
    assert [Path(entry["input"]) for entry in second["images"]] == [two]
    assert [Path(entry["input"]) for entry in second["earlier"]] == [one]
    assert Path(second["images"][0]["output"]).name == "eye_2_seg.png"
    # and each keeps its own name when both are asked for, in whatever order
    third = run(tiny_bundle, [two, one], tmp_path / "out")
    assert states(third) == ["kept", "kept"]
    assert "earlier" not in third


def test_an_interrupt_leaves_whole_files(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    images = copies(photo, 3)
    segmenter = load_bundle(tiny_bundle, image_files=[str(p) for p in images], output_dir=str(tmp_path / "out")).part(
        "evaluator"
    )

    def interrupt(done: int, total: int, record: Record) -> None:
        if done == 2:
            raise KeyboardInterrupt

    segmenter.on_record = interrupt
    with pytest.raises(KeyboardInterrupt):
        segmenter.run()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert states(report) == ["done", "done"]
    assert_whole(tmp_path / "out")
    assert states(run(tiny_bundle, images, tmp_path / "out")) == ["kept", "kept", "done"]


@pytest.mark.slow
def test_kill_in_the_middle_leaves_whole_files_and_a_second_run_finishes(
    tiny_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    images, out = copies(photo, 60), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "monai_dis",
        "segment",
        str(photo.parent / "many"),
        "--bundle",
        str(tiny_bundle),
        "--output",
        str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(list(out.glob("photo_*_seg.png"))) < 5 and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = assert_whole(out)
    assert 5 <= done < len(images)

    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["summary"]["kept"] >= done - 1  # one image may have been written and not yet entered
    assert report["summary"]["kept"] + report["summary"]["done"] == len(images)
    assert assert_whole(out) == len(images)
    assert not list(out.glob(".*")), "leftovers of the killed run are removed"


def assert_whole(out: Path) -> int:
    """Every visible file is complete; returns how many segmentations there are."""
    for path in out.glob("[!.]*.png"):
        with Image.open(path) as picture:
            picture.load()
    report = json.loads((out / "report.json").read_text())
    for entry in report["images"]:
        assert Path(entry["output"]).is_file()
        assert Path(entry["overlay"]).is_file()
    return len(list(out.glob("[!.]*_seg.png")))


def test_shares_of_the_images_write_to_one_folder(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    images = copies(photo, 5)
    twin = tmp_path / "other" / images[0].name  # of the same name: shares must not give both the same output
    twin.parent.mkdir()
    twin.write_bytes(photo.read_bytes())
    files = [str(path) for path in (*images, twin)]
    sources = []
    for number in (1, 2, 3, 4):
        segmenter = load_bundle(tiny_bundle, image_files=files, output_dir=str(tmp_path / "out"), device="cpu").part(
            "evaluator"
        )
        segmenter.shard = (number, 4)
        segmenter.run()
        report = json.loads((tmp_path / "out" / f"report-{number}-of-4.json").read_text())
        sources += [entry["input"] for entry in report["images"]]
    assert sorted(sources) == sorted(files)
    assert len(list((tmp_path / "out").glob("*_seg.png"))) == 6
