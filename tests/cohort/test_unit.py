"""The unit of work: one study a call, the same files whoever calls, and nothing done twice."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image
from small_bundle import disc

from monai_dis.cohort import Manifest, StudySegmenter, UnitSettings, find_cohort
from monai_dis.cohort.unit import StudySegmenter as Unit
from monai_dis.errors import BundleError, DataError


@pytest.fixture(scope="module")
def unit(deadly_bundle: Path) -> StudySegmenter:
    return Unit(UnitSettings(str(deadly_bundle), {"device": "cpu"}, threads=1))


def test_a_study_is_done_once(unit: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    first = unit(pictures / "photo0.png", tmp_path / "out")
    assert first.status == "done" and not first.kept and first.operations > 0 and first.seconds["total"] > 0
    written = Path(first.outputs["output"])
    time = written.stat().st_mtime_ns
    again = unit(pictures / "photo0.png", tmp_path / "out")
    assert again.kept and written.stat().st_mtime_ns == time
    assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 1

    Image.fromarray(disc(radius=9)).save(pictures / "photo0.png")
    assert not unit(pictures / "photo0.png", tmp_path / "out").kept  # another file under the same name
    written.unlink()
    assert not unit(pictures / "photo0.png", tmp_path / "out").kept  # its result is gone


def test_a_refusal_is_remembered_with_its_reason(unit: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    record = unit(pictures / "photo2b.png", tmp_path / "out")
    assert record.status == "refused" and "photo2b.png" in str(record.reason) and not record.outputs
    assert unit(pictures / "photo2b.png", tmp_path / "out").kept
    assert Manifest(tmp_path / "out").records()["photo2b"] == record


def test_another_setting_is_another_result(deadly_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    for number, windows in enumerate((1, 1, 2)):
        own = StudySegmenter(UnitSettings(str(deadly_bundle), {"device": "cpu", "windows": windows}))
        assert own(pictures / "photo1.png", tmp_path / "out").kept == (number == 1)


def test_the_files_are_those_of_the_plain_command(unit: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    from command_line import call

    alone = tmp_path / "alone"
    assert call("segment", pictures / "photo1.png", "-b", unit.settings.bundle, "-o", alone, "--device", "cpu") == 0
    unit(pictures / "photo1.png", tmp_path / "out")
    for name in ("photo1_seg.png", "photo1_overlay.png"):
        assert (alone / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_cohort_has_a_name_for_each_study_and_travels(pictures: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    shutil.copy(pictures / "photo0.png", twin / "photo0.png")
    cohort = find_cohort([pictures, twin])
    assert [each.name for each in cohort][:2] == ["photo0", "photo1"] and cohort[-1].name == "photo0_2"
    assert len({each.name for each in cohort}) == 9
    assert pickle.loads(pickle.dumps(cohort)) == cohort
    assert cohort[0].fingerprint() != cohort[1].fingerprint()


def test_one_call_is_one_study(unit: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 8 studies"):
        unit(pictures, tmp_path / "out")
    with pytest.raises(BundleError, match="no bundle"):
        StudySegmenter("no such bundle")
