"""SEG and SR: positions, references, codes, UIDs (O1 to O9)."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_objects import ENHANCED_CT_IMAGE, Identity, enhanced_image
from dicom_phantom import Grid, phantom, tilted_grid
from dicom_study import ENTRY, identity_of, open_plan, save_shuffled, small_series
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.checks.limits import Limits
from monai_dis.data.writing import write_segmentation
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.predicting import as_image
from monai_dis.dicom.presentation import RESEARCH_USE, Presentation
from monai_dis.dicom.seg import SegKind, make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.sr import make_sr, segment_volumes_ml
from monai_dis.dicom.writing import write_object
from monai_dis.errors import DicomError

HAS_LABELMAP = hasattr(highdicom.seg.SegmentationTypeValues, "LABELMAP")


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Small grids of any orientation, spacing and shear."""
    rotation, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 2**16))).normal(size=(3, 3)))
    if draw(st.booleans()):
        rotation = np.eye(3)[draw(st.permutations(range(3)))] * np.reshape(
            [draw(st.sampled_from([-1, 1])) for _ in range(3)], (3, 1)
        )
    row, column = rotation[0], rotation[1]
    step = np.cross(row, column) * draw(st.floats(0.5, 6))
    shear = math.tan(math.radians(draw(st.sampled_from([0, 0, 5, -20, 30])))) * np.linalg.norm(step)
    return Grid(
        columns=draw(st.integers(5, 9)),
        rows=draw(st.integers(4, 8)),
        slices=draw(st.integers(2, 6)),
        row_spacing=round(draw(st.floats(0.3, 4)), 3),
        column_spacing=round(draw(st.floats(0.3, 4)), 3),
        row_direction=tuple(row),
        column_direction=tuple(column),
        step=tuple(step + shear * column),
        origin=tuple(draw(st.integers(-300, 300)) for _ in range(3)),
    )


def frame_world(seg: Any, index: int, row: int, column: int) -> np.ndarray:
    """World position of a pixel of a SEG frame, from its functional groups alone (PS3.3 equation C.7.6.2.1-1)."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    own = seg.PerFrameFunctionalGroupsSequence[index]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
    return position + orientation[:3] * columns * column + orientation[3:] * rows * row


@given(grid=grids(), seed=st.integers(0, 1000), data=st.data())
def test_a_marked_voxel_is_in_one_place_in_source_seg_and_nifti(grid: Grid, seed: int, data: st.DataObject) -> None:
    mark = tuple(data.draw(st.integers(0, n - 1)) for n in (grid.columns, grid.rows, grid.slices))
    volume = np.zeros((grid.slices, grid.rows, grid.columns), dtype=int)
    volume[mark[::-1]] = 700
    truth = np.asarray(grid.world(mark))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_shuffled(small_series(grid, volume), folder / "in", seed)
        with open_plan(folder / "in") as plan:
            values = read_volume(plan)
            assert values.max() == 700
            assert np.count_nonzero(values) == 1
            found = np.argwhere(values == 700)[0]
            assert np.allclose((plan.affine_lps @ [*found, 1])[:3], truth, atol=1e-3)

            labels = (values > 0).astype(np.uint8)
            write_object(
                make_seg(labels, plan, read_first_header(plan, Limits()), ENTRY, identity_of(plan)), folder / "seg.dcm"
            )
            reference = as_image(values, plan.affine_lps)
            write_segmentation(torch.as_tensor(labels)[None], reference, folder / "seg.nii.gz")
        seg = pydicom.dcmread(folder / "seg.dcm")
        frame, row, column = np.argwhere(seg.pixel_array.reshape(-1, grid.rows, grid.columns))[0]
        assert np.allclose(frame_world(seg, frame, row, column), truth, atol=1e-3)
        assert seg.pixel_array.sum() == 1
        nifti = nibabel.load(folder / "seg.nii.gz")
        index = np.argwhere(np.asarray(nifti.dataobj))[0]
        assert np.allclose((nifti.affine @ [*index, 1])[:3] * [-1, -1, 1], truth, atol=1e-3)


def results(
    folder: Path, grid: Grid | None = None, labels: np.ndarray | None = None, **options: Any
) -> tuple[Any, Any, Any]:
    """SEG and SR of the phantom's organ (class 1) and marks (class 2), and the volumes."""
    grid = grid or Grid()
    if not folder.exists():
        save_shuffled(small_series(grid, phantom(grid)), folder)
    with open_plan(folder) as plan:
        if labels is None:
            values = read_volume(plan)
            labels = (values == 150).astype(np.uint8) + 2 * (values >= 1200).astype(np.uint8)
        source = read_first_header(plan, Limits())
        identity = identity_of(plan, options.pop("weights", "a" * 64))
        seg = make_seg(labels, plan, source, options.pop("entry", ENTRY), identity, **options)
        volumes = segment_volumes_ml(labels, plan.affine_lps, ENTRY)
        return seg, make_sr(seg, volumes, plan, source, ENTRY, identity), volumes


def test_there_is_a_frame_for_every_source_plane_and_a_reference_to_every_instance(tmp_path: Path) -> None:
    seg, _, _ = results(tmp_path / "in")
    sources = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in (tmp_path / "in").iterdir()}
    assert seg.NumberOfFrames == 48
    referenced = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == set(sources)
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert [float(v) for v in position] == [float(v) for v in sources[source].ImagePositionPatient]


def test_segments_are_coded(tmp_path: Path) -> None:
    seg, _, _ = results(tmp_path / "in")
    kidney, liver = seg.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in liver.SegmentedPropertyTypeCodeSequence[0]
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "0.0.1"
    assert "a" * 64 in algorithm.AlgorithmParameters
    assert len(liver.RecommendedDisplayCIELabValue) == 3


def test_a_colour_is_the_same_in_lab() -> None:
    from monai_dis.dicom.seg_object import _cie_lab

    assert _cie_lab((255, 255, 255)) == pytest.approx([65535, 32896, 32896], abs=2)
    assert _cie_lab((0, 0, 0)) == pytest.approx([0, 32896, 32896], abs=2)
    assert _cie_lab((255, 165, 0)) == pytest.approx([49107, 39048, 53188], abs=60)  # highdicom's example


def test_research_use_is_said_and_can_be_replaced(tmp_path: Path) -> None:
    seg, sr, _ = results(tmp_path / "in")
    assert seg.ContentDescription == RESEARCH_USE
    assert "research use only" in seg.SeriesDescription
    assert "research use only" in sr.SeriesDescription
    own, _, _ = results(tmp_path / "in", presentation=Presentation(statement="Cleared at our site."))
    assert own.ContentDescription == "Cleared at our site."
    assert "research" not in own.SeriesDescription


def test_patient_and_study_are_copied_and_nothing_else_of_the_person(tmp_path: Path) -> None:
    seg, sr, _ = results(tmp_path / "in")
    source = pydicom.dcmread(next((tmp_path / "in").iterdir()))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert seg[keyword].value == sr[keyword].value == source[keyword].value
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.SeriesInstanceUID != sr.SeriesInstanceUID != source.SeriesInstanceUID
    assert "InstitutionName" not in seg
    assert (seg.Modality, sr.Modality, seg.BodyPartExamined) == ("SEG", "SR", "ABDOMEN")


def test_the_same_run_gives_the_same_bytes_and_other_weights_other_uids(tmp_path: Path) -> None:
    for name in ("one", "two"):
        seg, sr, _ = results(tmp_path / "in")
        write_object(seg, tmp_path / f"{name}.seg.dcm")
        write_object(sr, tmp_path / f"{name}.sr.dcm")
    assert (tmp_path / "one.seg.dcm").read_bytes() == (tmp_path / "two.seg.dcm").read_bytes()
    assert (tmp_path / "one.sr.dcm").read_bytes() == (tmp_path / "two.sr.dcm").read_bytes()
    assert (tmp_path / "one.seg.dcm").read_bytes()[:128] == bytes(128)
    other, _, _ = results(tmp_path / "in", weights="c" * 64)
    assert other.SOPInstanceUID != seg.SOPInstanceUID
    assert seg.SOPInstanceUID.startswith("2.25.")


def test_nothing_found_is_a_result(tmp_path: Path) -> None:
    seg, sr, volumes = results(tmp_path / "in", labels=np.zeros((40, 32, 24), np.uint8))
    assert (str(seg.NumberOfFrames), len(seg.SegmentSequence), dict(volumes)) == (
        "2",  # one empty frame for each segment
        2,
        {1: 0.0, 2: 0.0},
    )
    assert not seg.pixel_array.any()
    assert measured(sr) == [0.0, 0.0]


def measured(sr: Any) -> list[float]:
    """Numeric values of a report."""
    return [float(each.value[0].NumericValue) for each in sr.iterall() if each.keyword == "MeasuredValueSequence"]


@pytest.mark.parametrize("degrees", [0.0, 15.0])
def test_volumes_are_in_millilitres_of_the_source_grid(degrees: float, tmp_path: Path) -> None:
    grid = tilted_grid(degrees)
    seg, sr, volumes = results(tmp_path / "in", grid)
    voxel_ml = 2 * 2 * 3 * math.cos(math.radians(degrees)) / 1000
    organ = int((phantom(grid) == 150).sum())
    assert volumes[1] == pytest.approx(organ * voxel_ml, rel=1e-6)
    assert volumes[2] == pytest.approx(2 * voxel_ml, rel=1e-6)
    assert measured(sr) == pytest.approx(list(volumes.values()), rel=1e-6)
    assert seg.pixel_array.sum() * voxel_ml == pytest.approx(sum(volumes.values()), rel=1e-3)
    tracked = [element.value for element in sr.iterall() if element.keyword == "UID"]
    assert {segment.TrackingUID for segment in seg.SegmentSequence} <= set(tracked)
    referenced = {e.value for e in sr.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    sources = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in").iterdir()}
    assert referenced == {seg.SOPInstanceUID, *sources}


def test_a_multi_frame_source_is_referenced_by_frame(tmp_path: Path) -> None:
    grid = Grid()
    frames = [(0, index) for index in reversed(range(grid.slices))]
    stored = phantom(grid)[None].astype(int) + 1024
    save_shuffled([enhanced_image(Identity("multi"), ENHANCED_CT_IMAGE, grid, stored, frames)], tmp_path / "in")
    seg, _, _ = results(tmp_path / "in")
    assert seg.NumberOfFrames == 48
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        number = source.ReferencedFrameNumber
        assert place == pytest.approx(grid.position(grid.slices - int(number))[2])


def test_overlapping_classes_keep_both(tmp_path: Path) -> None:
    labels = np.zeros((2, 40, 32, 24), np.uint8)
    labels[:, 5, 6, 7] = 1
    seg, _, _ = results(tmp_path / "in", labels=labels)
    assert seg.pixel_array.sum() == 2
    assert seg.get("SegmentsOverlap", "YES") in ("YES", "UNDEFINED")


@pytest.mark.skipif(not HAS_LABELMAP, reason="highdicom before 0.23 writes no label maps")
def test_a_label_map_holds_the_same_labels(tmp_path: Path) -> None:
    seg, _, _ = results(tmp_path / "in", kind=SegKind.LABELMAP)
    assert (seg.SOPClassUID, seg.NumberOfFrames) == ("1.2.840.10008.5.1.4.1.1.66.7", 24)
    assert_reads_back(seg, tmp_path)


@pytest.mark.skipif(HAS_LABELMAP, reason="this highdicom writes label maps")
def test_an_old_highdicom_says_that_it_writes_no_label_maps(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"needs highdicom 0\.23"):
        results(tmp_path / "in", kind=SegKind.LABELMAP)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param(np.zeros((32, 40, 24), np.uint8), "bring them to its grid", id="transposed"),
        pytest.param(np.full((40, 32, 24), 3, np.uint8), "names 2 segments", id="unknown-class"),
        pytest.param(np.zeros((3, 40, 32, 24), np.uint8), "names 2 segments", id="too-many-classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, words: str, tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=words):
        results(tmp_path / "in", labels=labels)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(Grid(), id="axial"),
        pytest.param(tilted_grid(15), id="tilted"),
        pytest.param(replace(Grid(), slices=2), id="two-slices"),
    ],
)
def test_the_standard_is_kept(grid: Grid, tmp_path: Path) -> None:
    seg, sr, _ = results(tmp_path / "in", grid)
    for name, made in (("seg", seg), ("sr", sr)):
        write_object(made, tmp_path / f"{name}.dcm")
        said = subprocess.run(["dciodvfy", tmp_path / f"{name}.dcm"], capture_output=True, check=False).stderr.decode(
            "latin-1"
        )
        assert not [line for line in said.splitlines() if line.startswith("Error")]


def test_highdicom_reads_the_mask_back(tmp_path: Path) -> None:
    seg, _, _ = results(tmp_path / "in")
    assert_reads_back(seg, tmp_path)


def assert_reads_back(seg: Any, tmp_path: Path) -> None:
    """See that highdicom finds the phantom's classes in a SEG, slice by slice."""
    write_object(seg, tmp_path / "seg.dcm")
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    uids = [item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    masks = read.get_pixels_by_source_instance(source_sop_instance_uids=uids, combine_segments=True)
    heights = {pydicom.dcmread(path).SOPInstanceUID: path for path in (tmp_path / "in").iterdir()}
    order = np.argsort([float(pydicom.dcmread(heights[uid]).ImagePositionPatient[2]) for uid in uids])
    assert np.array_equal(masks[order], (phantom(Grid()) == 150) + 2 * (phantom(Grid()) >= 1200))
