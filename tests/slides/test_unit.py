"""Slides as studies of a cohort: the files of the plain command, done once, and a refusal with its reason."""

from __future__ import annotations

from pathlib import Path

from command_line import call
from PIL import Image
from slide_files import spots, write_tiff

from monai_dis.pipeline import Options, RunSettings, StudySegmenter, find_studies

RESULTS = ("kidney_seg.ome.tif", "kidney_outlines.geojson", "kidney_overlay.png")


def test_a_slide_of_a_cohort_is_segmented_from_disk(slide_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_tiff(folder / "kidney.svs", spots(700, 600))
    (folder / "bad.svs").write_bytes(b"no slide")
    Image.fromarray(spots(200, 150)).save(folder / "photo.png")
    studies = find_studies([folder])
    assert [(each.wanted_stem, each.kind) for each in studies] == [
        ("photo", "image"),
        ("bad", "slide"),
        ("kidney", "slide"),
    ]

    unit = StudySegmenter(RunSettings(str(slide_bundle), {"device": "cpu"}))
    records = {each.wanted_stem: unit(each, tmp_path / "out") for each in studies}
    assert [records[each].status for each in ("photo", "bad", "kidney")] == ["done", "refused", "done"]
    assert "bad.svs" in str(records["bad"].reason)
    assert unit(studies[-1], tmp_path / "out").kept

    assert call("segment", folder / "kidney.svs", "-b", slide_bundle, "-o", tmp_path / "alone", "--device", "cpu") == 0
    for name in RESULTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert {Path(file).name for file in records["kidney"].outputs.values()} == set(RESULTS)
    (tmp_path / "out" / "kidney_outlines.geojson").unlink()
    assert not unit(studies[-1], tmp_path / "out").kept, "one of its results is gone"


def test_a_small_tiff_is_a_slide_when_asked(tmp_path: Path) -> None:
    file = write_tiff(tmp_path / "kidney.ome.tif", spots(100, 100))
    assert [(each.wanted_stem, each.kind) for each in find_studies([file])] == [("kidney.ome", "image")]
    assert [(each.wanted_stem, each.kind) for each in find_studies([file], Options(tiled=True))] == [
        ("kidney", "slide")
    ]
