"""From the command line to SEG and SR: a folder or ZIP, kept results, refusals, and no person's data in anything but the objects."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from command_line import call
from dicom_case import BOMB_BYTES, PHI_CANARIES
from dicom_files import write_zip
from dicom_objects import Identity, ct_series
from dicom_phantom import Grid, phantom, tilted_grid
from dicom_study import save_shuffled, small_series

from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.target import Target

MARKS = [[27, 9, 5], [12, 22, 18]]


def study(folder: Path, grid: Grid | None = None) -> Path:
    return save_shuffled(small_series(grid or Grid(), phantom(grid or Grid())), folder)


def entry_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())["images"][0]


def classes(seg: Any) -> np.ndarray:
    """(segments, slices, rows, columns) of a SEG, slices by height."""
    frames: dict[tuple[int, float], np.ndarray] = {}
    for plane, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        frames[number, float(group.PlanePositionSequence[0].ImagePositionPatient[2])] = plane
    heights = sorted({height for _, height in frames})
    return np.array([[frames[number, height] for height in heights] for number in (1, 2)])


def test_a_folder_becomes_seg_and_sr_on_its_own_planes(volume_bundle: Path, tmp_path: Path) -> None:
    assert call("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out") == 0
    entry = entry_of(tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    uid = entry["sop_instance_uid"]
    assert names == [
        f"{uid}.seg.dcm",
        f"{uid}.sr.dcm",
        f"{uid}_overlay.png",
        "manifest.jsonl",
        "report-objects.csv",
        "report.html",
        "report.json",
    ]
    expected = np.digitize(phantom(Grid()), [64, 192])
    found = classes(pydicom.dcmread(entry["output"]))
    assert np.array_equal(found[0], expected == 1)
    assert np.array_equal(np.argwhere(found[1])[:, ::-1].tolist(), MARKS)
    assert entry["segments"][1] == {
        "number": 2,
        "label": "Liver",
        "voxels": 2,
        "volume_ml": 0.024,
        "touches_border": False,
    }
    assert entry["verdict"] == "accept"


def test_a_zip_gives_the_same_object_as_its_folder(volume_bundle: Path, tmp_path: Path) -> None:
    folder = study(tmp_path / "in")
    write_zip(tmp_path / "in.zip", [(f"a/{path.name}", path.read_bytes()) for path in sorted(folder.iterdir())])
    assert call("segment", folder, "-b", volume_bundle, "-o", tmp_path / "one") == 0
    assert call("segment", tmp_path / "in.zip", "-b", volume_bundle, "-o", tmp_path / "two") == 0
    one, two = (Path(entry_of(tmp_path / name)["output"]) for name in ("one", "two"))
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    assert zipfile.is_zipfile(tmp_path / "in.zip")


def test_a_tilted_stack_is_answered_on_its_own_slices(volume_bundle: Path, tmp_path: Path) -> None:
    grid = tilted_grid(15)
    assert call("segment", study(tmp_path / "in", grid), "-b", volume_bundle, "-o", tmp_path / "out") == 0
    entry = entry_of(tmp_path / "out")
    seg = pydicom.dcmread(entry["output"])
    found, expected = classes(seg), np.digitize(phantom(grid), [64, 192])
    # Slices move within their planes by fractions of a pixel: edges may differ by one pixel, the inside may not.
    agreement = 2 * (found[0] & (expected == 1)).sum() / (found[0].sum() + (expected == 1).sum())
    assert agreement > 0.9
    for mark in MARKS:
        column, row, plane = mark
        assert found[1][plane, row - 1 : row + 2, column].any()
    positions = {
        tuple(map(float, group.PlanePositionSequence[0].ImagePositionPatient))
        for group in seg.PerFrameFunctionalGroupsSequence
    }
    assert positions == {tuple(np.round(grid.position(index), 9)) for index in range(24)}
    assert "GANTRY_TILT" in [each["code"] for each in entry["findings"]]


def test_nifti_on_request_with_labels_and_codes(volume_bundle: Path, tmp_path: Path) -> None:
    assert (
        call("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out", "--format", "nifti") == 0
    )
    entry = entry_of(tmp_path / "out")
    image = nibabel.load(entry["output"])
    assert np.array_equal(np.asarray(image.dataobj).T, np.digitize(phantom(Grid()), [64, 192]))
    assert np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ Grid().affine())
    assert (image.header["sform_code"], image.header["qform_code"], image.header.get_xyzt_units()[0]) == (1, 1, "mm")
    inside = json.loads(image.header.extensions[0].get_content())["segments"]
    assert [each["label"] for each in inside] == ["Right kidney", "Liver"]
    labels = json.loads(Path(entry["labels"]).read_text())["segments"]
    assert [each["type"]["value"] for each in labels] == ["64033007", "10200004"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_seg_nrrd_on_request_with_names_codes_and_colours(volume_bundle: Path, tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    command = ("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out", "--format", "nrrd")
    assert call(*command) == 0
    entry = entry_of(tmp_path / "out")
    assert entry["output"].endswith(".seg.nrrd")
    image = itk.imread(entry["output"])
    assert np.array_equal(itk.array_from_image(image), np.digitize(phantom(Grid()), [64, 192]))
    for mark in MARKS:
        assert np.allclose(image.TransformIndexToPhysicalPoint(mark), Grid().world(tuple(mark)), atol=1e-6)
    header = Path(entry["output"]).read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Name:=Right kidney" in header
    assert "Segment1_LabelValue:=2" in header
    assert "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^24028007^Right~" in header
    assert "Segment1_Color:=0.866667 0.509804 0.396078" in header
    with inspect(entry["output"], Target()) as found:
        assert [each.code for each in found.findings] == []
        assert np.allclose(found.volumes[0].affine_lps, Grid().affine())


def test_report_table_and_sr_list_the_same_objects(volume_bundle: Path, tmp_path: Path) -> None:
    """Each with size, middle, certainty and whether it was refined; of a report the middle is in patient coordinates."""
    out = tmp_path / "out"
    command = ("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", out, "--windows", "1", "--uncertainty")
    assert call(*command) == 0
    entry = entry_of(out)
    objects, counts = entry["objects"], entry["object_counts"]
    assert sum(counts.values()) == len(objects) > 1
    total = {each["label"]: each["volume_ml"] for each in entry["segments"]}
    for name, volume in total.items():
        assert sum(each["size"] for each in objects if each["name"] == name) == pytest.approx(volume, abs=1e-3)
    assert {each["refined"] for each in objects} == {True, False}
    assert all(0 <= each["certainty"] <= 1 for each in objects)
    for each in objects:
        assert np.allclose(
            Grid().affine() @ [*each["voxel"], 1], [*np.multiply(each["ras_mm"], [-1, -1, 1]), 1], atol=0.2
        )
    with (out / "report-objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], float(row["size"]), row["refined"] == "yes") for row in rows] == [
        (each["name"], each["size"], each["refined"]) for each in objects
    ]
    assert f"{len(objects)} objects" in (out / "report.html").read_text()
    root = pydicom.dcmread(entry["sr"]).ContentSequence
    (groups,) = [item.ContentSequence for item in root if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    ours = [
        item.ContentSequence for item in groups if any(each.ValueType == "SCOORD3D" for each in item.ContentSequence)
    ]
    assert len(ours) == len(objects) and len(groups) == len(objects) + len(total)
    for group, each in zip(ours, objects, strict=True):
        (place,) = [item for item in group if item.ValueType == "SCOORD3D"]
        assert place.GraphicType == "POINT"
        assert np.allclose(place.GraphicData, np.multiply(each["ras_mm"], [-1, -1, 1]))
        numbers = [float(item.MeasuredValueSequence[0].NumericValue) for item in group if item.ValueType == "NUM"]
        assert numbers == pytest.approx([each["size"], each["certainty"]])
        codes = [item.ConceptCodeSequence[0].CodeMeaning for item in group if item.ValueType == "CODE"]
        assert ("Yes" in codes) is each["refined"]


def test_what_stays_uncertain_is_an_object_of_its_own(volume_bundle: Path, tmp_path: Path) -> None:
    command = ("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out", "--uncertainty")
    assert call(*command, "--windows", "3") == 0
    entry = entry_of(tmp_path / "out")
    seg, sr = pydicom.dcmread(entry["output"]), pydicom.dcmread(entry["sr"])
    uncertain = pydicom.dcmread(entry["uncertainty"])
    assert (uncertain.SegmentationType, uncertain.MaximumFractionalValue) == ("FRACTIONAL", 255)
    assert uncertain.SeriesInstanceUID != seg.SeriesInstanceUID
    assert [each.SegmentLabel for each in uncertain.SegmentSequence] == ["Refined", "Uncertain"]
    evidence = [each.value for each in sr.iterall() if each.keyword == "ReferencedSOPInstanceUID"]
    assert uncertain.SOPInstanceUID in evidence
    refined, doubt = classes(uncertain)
    # three windows of 16 x 16 x 16, which may overlap and hang over the border
    assert set(np.unique(refined)) == {0, 255}
    assert 16**3 <= np.count_nonzero(refined) <= 3 * 16**3
    # The network's logits are 0, 40 b - 10, 80 b - 40 at brightness b: between the marks at 1.0 and air it is a coin toss.
    assert np.unravel_index(doubt.argmax(), doubt.shape) != (0, 0, 0)
    assert doubt[0, 0, 0] == 0
    assert call(*command, "--windows", "3", "--format", "nifti") == 0
    soft = nibabel.load(entry_of(tmp_path / "out")["uncertainty"])
    assert np.allclose(np.asarray(soft.dataobj).T * 255, doubt, atol=0.51)


def test_an_inferer_of_labels_says_what_stays_uncertain_when_it_is_asked(volume_bundle: Path, tmp_path: Path) -> None:
    command = ("segment", study(tmp_path / "in"), "-b", volume_bundle, "--uncertainty", "--windows", "3")
    assert call(*command, "-o", tmp_path / "logits") == 0
    # The phantom's grid is the network's own, where labels that are brought back are those of logits that are.
    of_labels = labels_bundle(volume_bundle, tmp_path / "bundle")
    assert call(*command[:3], of_labels, *command[4:], "-o", tmp_path / "labels") == 0
    want, made = (entry_of(tmp_path / each) for each in ("logits", "labels"))
    for kind in ("output", "uncertainty"):
        assert np.array_equal(pydicom.dcmread(made[kind]).pixel_array, pydicom.dcmread(want[kind]).pixel_array)


def labels_bundle(bundle: Path, copy: Path) -> Path:
    """The bundle with an inferer that gives labels, which come back as labels."""
    shutil.copytree(bundle, copy)
    file = copy / "configs" / "inference.yaml"
    text = file.read_text()
    assert "  _target_: monai_dis.inferers.IterativeInferer\n" in text and "nearest_interp: false" in text
    text = text.replace("IterativeInferer\n", "IterativeInferer\n  output: labels\n")
    text = text.replace("nearest_interp: false", "nearest_interp: true")
    file.write_text(
        "\n".join(line for line in text.split("\n") if not any(s in line for s in ("Activationsd", "AsDiscreted")))
    )
    return copy


def test_a_second_run_keeps_the_result(volume_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("segment", study(tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out")
    assert call(*command) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    assert call(*command) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")} == before
    assert "kept" in capsys.readouterr().out
    assert entry_of(tmp_path / "out")["kept"] is True
    assert call(*command, "--windows", "1") == 0
    assert len(list((tmp_path / "out").glob("*.seg.dcm"))) == 2  # other settings, another result


def test_a_rejected_study_does_not_stop_the_others(
    volume_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = study(tmp_path / "good"), study(tmp_path / "bad")
    middle = next(path for path in bad.iterdir() if pydicom.dcmread(path).InstanceNumber == 12)
    middle.unlink()
    assert call("segment", bad, good, "-b", volume_bundle, "-o", tmp_path / "out") == 1
    images = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    assert ["error" in image for image in images] == [True, False]
    error = capfd.readouterr().err
    assert "SLICE_GAP: 1 slices are missing, first behind slice 11" in error
    assert "Traceback" not in error


def test_no_picture_is_made_of_burned_in_text(volume_bundle: Path, tmp_path: Path) -> None:
    series = small_series(Grid(), phantom(Grid()))
    for data in series:
        data.BurnedInAnnotation = "YES"
    assert call("segment", save_shuffled(series, tmp_path / "in"), "-b", volume_bundle, "-o", tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("*.png"))


def test_no_persons_data_but_in_the_objects(
    volume_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = study(tmp_path / "in")
    broken = ct_series(Identity("small", patient="second"))[0]
    broken.EchoTime = "1"
    for data in (broken,):
        save_shuffled([data], tmp_path / "mixed")
    for path in sorted(folder.iterdir()):
        (tmp_path / "mixed" / f"m{path.name}").write_bytes(path.read_bytes())
    bytes_of = next(iter((tmp_path / "in").iterdir())).read_bytes()
    (tmp_path / "mixed" / "garbled").write_bytes(bytes_of.replace(b"CANARY-ID-1001", b"CANARY-ID-1001"[:-1] + b"\xff"))
    caplog.set_level("DEBUG")
    assert call("segment", folder, "-b", volume_bundle, "-o", tmp_path / "out") == 0
    assert call("segment", tmp_path / "mixed", "-b", volume_bundle, "-o", tmp_path / "bad") == 1
    assert call("dicom", "check", tmp_path / "mixed", "--json", tmp_path / "bad" / "check.json") == 3
    printed = capfd.readouterr()
    texts = {"printed": printed.out + printed.err, "log": caplog.text}
    for path in [*(tmp_path / "out").rglob("*"), *(tmp_path / "bad").rglob("*")]:
        texts[path.name] = path.name if path.suffix == ".dcm" else path.name + path.read_bytes().decode("latin-1")
    assert "PATIENT_MIXED" in texts["check.json"]
    for canary in (*PHI_CANARIES, "Canary", "CANARY", "19700101"):
        assert not [name for name, text in texts.items() if canary in text], canary


def test_studies_and_volumes_are_done_in_one_run(
    volume_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    affine = np.diag([-1.0, -1, 1, 1]) @ Grid().affine()
    values = phantom(Grid()).T.astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "good.nii.gz")
    crooked = nibabel.Nifti1Image(values, affine)
    crooked.set_qform(affine @ np.diag([1.0, 1, 2, 1]), code=1)
    nibabel.save(crooked, tmp_path / "crooked.nii.gz")
    files = (tmp_path / "crooked.nii.gz", tmp_path / "good.nii.gz")
    assert call("segment", study(tmp_path / "in"), *files, "-b", volume_bundle, "-o", tmp_path / "out") == 1
    images = json.loads((tmp_path / "out" / "report.json").read_text())["images"]
    assert [("error" in each, each.get("verdict")) for each in images] == [
        (True, None),
        (False, "accept"),
        (False, "accept"),
    ]
    expected = np.digitize(phantom(Grid()), [64, 192])
    assert np.array_equal(np.asarray(nibabel.load(images[1]["output"]).dataobj).T, expected)
    assert np.array_equal(classes(pydicom.dcmread(images[2]["output"]))[0], expected == 1)
    printed = capfd.readouterr()
    assert "AFFINE_CONFLICT" in printed.err
    assert "2 done, 1 failed" in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("{images}", "--format", "seg"), "are for DICOM studies", id="format-without-study"),
        pytest.param(("{study}", "{images}"), "spatial axes", id="study-and-a-picture-that-does-not-fit"),
        pytest.param(
            ("{images}", "--uncertainty", "--slide"), "is for images and DICOM studies", id="uncertainty-of-a-slide"
        ),
        pytest.param(("{study}", "--policy", "PATIENT_MIXED=warn"), "cannot be relaxed", id="never-relaxed"),
        pytest.param(("{study}", "--policy", "NONSENSE=warn"), "no finding 'NONSENSE'", id="unknown-code"),
        pytest.param(("{study}", "--limit", "files=2"), "more than 2 files", id="limit"),
        pytest.param(("{study}", "--limit", "things=2"), "cannot be set", id="unknown-limit"),
    ],
)
def test_options_that_cannot_be_used(
    arguments: tuple[str, ...],
    words: str,
    volume_bundle: Path,
    photo: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    filled = [part.format(study=study(tmp_path / "in"), images=photo) for part in arguments]
    assert call("segment", *filled, "-b", volume_bundle, "-o", tmp_path / "out") == 1
    assert words in capfd.readouterr().err


def test_a_bundle_without_codes_is_no_bundle_for_dicom(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("segment", study(tmp_path / "in"), "-b", tiny_bundle, "-o", tmp_path / "out") == 1
    assert "says nothing about DICOM" in capfd.readouterr().err


def test_check_writes_json_and_says_by_its_status_what_it_found(
    volume_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = study(tmp_path / "in"), tmp_path / "check.json"
    assert call("dicom", "check", folder, "--bundle", volume_bundle, "--json", file) == 0
    report = json.loads(file.read_text())
    assert report["verdict"] == "accept"
    assert report["volumes"][0]["shape_columns_rows_slices"] == [40, 32, 24]
    assert call("dicom", "check", folder, "--modality", "MR", "--json", file) == 3
    assert [each["code"] for each in json.loads(file.read_text())["findings"]] == ["MODALITY_MISMATCH"]
    assert call("dicom", "check", folder, "--modality", "MR", "--policy", "MODALITY_MISMATCH=warn") == 0
    assert call("dicom", "check", tmp_path / "nowhere") == 1
    assert call("dicom", "check", folder, "--modality", "CT", "--bundle", volume_bundle) == 2
    assert "40 x 32 x 24 voxels" in capsys.readouterr().out


def test_an_archive_that_expands_too_far_is_not_unpacked(volume_bundle: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "bomb.zip", [("IM0001", bytes(BOMB_BYTES))])
    assert call("dicom", "check", tmp_path / "bomb.zip", "--json", tmp_path / "check.json") == 3
    assert "LIMIT_EXCEEDED" in (tmp_path / "check.json").read_text()
