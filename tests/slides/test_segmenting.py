"""``monai-dis segment`` on slides: what it writes, that it is the answer in memory, that it goes on after a kill, what it says."""

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
import tifffile
from command_line import call
from PIL import Image
from shapely.geometry import shape
from slide_files import spots, write_tiff

UM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}


def entry_of(out: Path) -> dict[str, Any]:
    (entry,) = json.loads((out / "report.json").read_text())["images"]
    return entry  # type: ignore[no-any-return]


def test_results_are_those_of_the_picture_in_memory(slide_bundle: Path, tmp_path: Path) -> None:
    picture = spots(2500, 1300, empty=5)
    slide = write_tiff(tmp_path / "kidney.tif", picture, levels=1, **UM)
    Image.fromarray(picture).save(tmp_path / "kidney.png")
    assert call("segment", tmp_path / "kidney.png", "-b", slide_bundle, "-o", tmp_path / "whole", "--windows", 60) == 0
    assert call("segment", slide, "--slide", "-b", slide_bundle, "-o", tmp_path / "out", "--windows", 60) == 0
    whole, ours = entry_of(tmp_path / "whole"), entry_of(tmp_path / "out")

    labels = tifffile.imread(ours["output"])
    assert np.array_equal(labels, np.asarray(Image.open(whole["output"])))
    assert labels.any() and not labels.all()
    assert ours["windows_refined"] == whole["windows_refined"] == 60
    with tifffile.TiffFile(ours["output"]) as file:
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata
    with Image.open(ours["overlay"]) as overlay:
        assert max(overlay.size) <= 2048 + 200
    features = json.loads(Path(ours["outlines"]).read_text())["features"]
    assert sum(shape(f["geometry"]).area for f in features) == labels.sum()
    assert {f["properties"]["classification"]["name"] for f in features} == {"bright"}
    assert ours["object_counts"] == {"bright": len(features)}
    assert 0 < ours["slide"]["share_with_tissue"] < 0.85, "the left quarter is dark"
    assert 0 < ours["slide"]["share_of_bytes_read"] <= 1
    assert (tmp_path / "out" / "report.html").is_file() and not list((tmp_path / "out").glob(".*"))
    # The report has what it has for any image; the objects of a slide are listed in its outlines.
    assert set(whole) - set(ours) == {"objects", "quadrants", "quadrants_about"}


def test_a_second_run_keeps_it_and_a_lost_outline_is_made_again(slide_bundle: Path, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "kidney.ome.tif", spots(700, 600))
    command = ("segment", slide, "--slide", "-b", slide_bundle, "-o", tmp_path / "out")
    assert call(*command) == 0 and "kept" not in entry_of(tmp_path / "out")
    assert call(*command) == 0 and entry_of(tmp_path / "out")["kept"]
    Path(entry_of(tmp_path / "out")["outlines"]).unlink()
    assert call(*command) == 0 and "kept" not in entry_of(tmp_path / "out")
    assert (tmp_path / "out" / "kidney_outlines.geojson").is_file()


def test_slides_and_pictures_in_one_run_and_one_report(slide_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_tiff(folder / "kidney.svs", spots(700, 600))
    Image.fromarray(spots(200, 150)).save(folder / "photo.png")
    assert call("segment", folder, "-b", slide_bundle, "-o", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [Path(e["output"]).name for e in report["images"]] == ["photo_seg.png", "kidney_seg.ome.tif"]
    assert report["summary"]["images"] == 2


def killed_when(there: Path, command: list[str]) -> None:
    """Start a command and kill it when a finished file is in a folder."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while not list(there.glob("[!.]*")) and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_run_that_was_killed_twice_goes_on(slide_bundle: Path, tmp_path: Path) -> None:
    slide, out = write_tiff(tmp_path / "a.tif", spots(2700, 2100)), tmp_path / "out"
    changes = ["--set", "inferer#levels=[2, 1]", "--windows", "300"]
    command = [sys.executable, "-m", "monai_dis", "segment", str(slide), "--slide", "-b", str(slide_bundle), *changes]
    for part in ("levels/coarse", "labels"):
        killed_when(out / ".slide-a" / part, [*command, "-o", str(out)])
        assert list((out / ".slide-a" / part).glob("[!.]*")) and {p.name for p in out.glob("[!.]*")} == {
            "manifest.jsonl"
        }
    assert call(*command[3:], "-o", tmp_path / "plain") == 0
    plain = entry_of(tmp_path / "plain")
    assert call(*command[3:], "-o", out) == 0
    ours = entry_of(out)
    assert ours["slide"]["resumed"] and not plain["slide"]["resumed"]
    assert ours["statistics"]["calls"]["coarse"] == 0 < plain["statistics"]["calls"]["coarse"], (
        "no tile is computed again"
    )
    assert Path(ours["outlines"]).read_text() == Path(plain["outlines"]).read_text()
    assert np.array_equal(tifffile.imread(ours["output"]), tifffile.imread(plain["output"]))
    assert ours["operations"] == plain["operations"]
    assert not list(out.glob(".*")), "what the run kept for itself is removed"


@pytest.mark.parametrize("change", ["settings", "file"])
def test_the_work_of_a_killed_run_on_something_else_is_not_used(change: str, tmp_path: Path) -> None:
    from monai_dis.slides.store import open_work_folder

    identity = {"settings": "a", "bytes": 5}
    assert not open_work_folder(tmp_path / "w", identity)
    (tmp_path / "w" / "tile").touch()
    assert open_work_folder(tmp_path / "w", identity) and (tmp_path / "w" / "tile").exists()
    other = {**identity, "settings": "b"} if change == "settings" else {**identity, "bytes": 6}
    assert not open_work_folder(tmp_path / "w", other) and not (tmp_path / "w" / "tile").exists()


def four_channels(path: Path) -> None:
    tifffile.imwrite(
        path, np.zeros((4, 300, 300), np.uint8), tile=(256, 256), photometric="minisblack", metadata={"axes": "CYX"}
    )


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        pytest.param(four_channels, "has 4 channels, the bundle's network takes 3", id="channels"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:5000]), "cut off or damaged", id="cut"),
        pytest.param(lambda p: p.unlink(), "here is no file", id="missing"),
    ],
)
def test_a_bad_slide_has_a_sentence_and_does_not_stop_the_next(
    damage: Any, sentence: str, slide_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = (write_tiff(tmp_path / name, spots(500, 400)) for name in ("bad.tif", "good.tif"))
    damage(bad)
    assert call("segment", bad, good, "--slide", "-b", slide_bundle, "-o", tmp_path / "out") == 1
    assert sentence in capsys.readouterr().err
    images = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    assert [sentence in each.get("error", "") for each in images].count(True) == 1 and len(images) == 2
    assert Path(images[[("error" in each) for each in images].index(False)]["output"]).is_file()


def test_without_the_extra_the_sentence_names_it(
    slide_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = write_tiff(tmp_path / "a.svs", spots(500, 400))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert call("segment", slide, "-b", slide_bundle, "-o", tmp_path / "out") == 1
    assert 'pip install "monai-dis[slides]"' in capsys.readouterr().err


def test_a_bundle_that_labels_in_its_own_way_is_refused(
    slide_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = slide_bundle / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("threshold: 0.5", "threshold: 0.3"))
    slide = write_tiff(tmp_path / "a.svs", spots(500, 400))
    assert call("segment", slide, "-b", slide_bundle, "-o", tmp_path / "out") == 1
    assert "threshold 0.3" in capsys.readouterr().err
