"""One study a call: the same files whoever calls, and nothing done twice."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image
from small_bundle import disc

from monai_dis.errors import BundleError, DataError
from monai_dis.pipeline import Ledger, RunSettings, StudySegmenter, find_studies


@pytest.fixture(scope="module")
def segment(deadly_bundle: Path) -> StudySegmenter:
    return StudySegmenter(RunSettings(str(deadly_bundle), {"device": "cpu"}, threads=1))


def test_a_study_is_done_once(segment: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    first = segment(pictures / "photo0.png", tmp_path / "out")
    assert first.status == "done" and not first.kept and first.operations > 0 and first.seconds["total"] > 0
    written = Path(first.outputs["output"])
    time = written.stat().st_mtime_ns
    again = segment(pictures / "photo0.png", tmp_path / "out")
    assert again.kept and written.stat().st_mtime_ns == time
    assert len(Ledger(tmp_path / "out").records()) == 1

    Image.fromarray(disc(radius=9)).save(pictures / "photo0.png")
    assert not segment(pictures / "photo0.png", tmp_path / "out").kept  # another content at the same place
    written.unlink()
    assert not segment(pictures / "photo0.png", tmp_path / "out").kept  # its result is gone


def test_two_patients_whose_files_have_one_name_size_and_time(segment: StudySegmenter, tmp_path: Path) -> None:
    outputs = []
    for number, column in enumerate((20.0, 70.0)):
        file = tmp_path / f"p{number}" / "image.bmp"
        file.parent.mkdir()
        Image.fromarray(disc(centre=(column, 30.0))).save(file)
        os.utime(file, (1_700_000_000, 1_700_000_000))
    for number in range(2):
        record = segment(tmp_path / f"p{number}" / "image.bmp", tmp_path / "out")
        assert record.status == "done" and not record.kept
        outputs.append(Path(record.outputs["output"]))
    assert [path.name for path in outputs] == ["image_seg.png", "image_2_seg.png"]
    assert outputs[0].read_bytes() != outputs[1].read_bytes()


def test_a_refusal_has_a_reason_and_is_tried_again(segment: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    record = segment(pictures / "photo2b.png", tmp_path / "out")
    assert record.status == "refused" and "photo2b.png" in str(record.reason) and not record.outputs
    assert Ledger(tmp_path / "out").of_place(str(pictures / "photo2b.png")) == record
    again = segment(pictures / "photo2b.png", tmp_path / "out")  # what it lacked may be there by now
    assert again.status == "refused" and not again.kept


def test_another_setting_is_another_result(deadly_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    for number, windows in enumerate((1, 1, 2)):
        own = StudySegmenter(RunSettings(str(deadly_bundle), {"device": "cpu", "windows": windows}))
        assert own(pictures / "photo1.png", tmp_path / "out").kept == (number == 1)


def test_the_files_are_those_of_the_plain_command(segment: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    from command_line import call

    alone = tmp_path / "alone"
    assert call("segment", pictures / "photo1.png", "-b", segment.settings.bundle, "-o", alone, "--device", "cpu") == 0
    segment(pictures / "photo1.png", tmp_path / "out")
    for name in ("photo1_seg.png", "photo1_overlay.png"):
        assert (alone / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_studies_travel_and_are_known_by_their_places(pictures: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    shutil.copy(pictures / "photo0.png", twin / "photo0.png")
    studies = find_studies([pictures, twin])
    assert [each.label for each in studies][:2] == ["photo0.png", "photo1.png"]
    assert len({each.place for each in studies}) == 9
    assert pickle.loads(pickle.dumps(studies)) == studies


def test_one_call_is_one_study(segment: StudySegmenter, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 8 studies"):
        segment(pictures, tmp_path / "out")
    with pytest.raises(BundleError, match="no bundle"):
        StudySegmenter("no such bundle")


def test_names_of_version_0_1_work_with_a_warning() -> None:
    import monai_dis.cohort as cohort

    with pytest.warns(DeprecationWarning, match="monai_dis.pipeline.StudySegmenter now"):
        assert cohort.StudySegmenter is StudySegmenter
