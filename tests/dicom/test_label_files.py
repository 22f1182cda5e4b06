"""Label files of classes that overlap: nothing is lost in NIfTI, ``.seg.nrrd`` or SEG, and every voxel stays where it is (O10)."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from command_line import call
from dicom_phantom import Grid, oblique_grid, phantom, tilted_grid
from dicom_study import ENTRY, save_shuffled, small_series

from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.data.nifti_output import write_nifti
from monai_dis.dicom.label_files import nifti_comment, stored_values
from monai_dis.dicom.seg_nrrd import write_seg_nrrd
from monai_dis.errors import DicomError

GRID = Grid(row_spacing=1.5, column_spacing=3.0)
TRUTH = (np.reshape([64, 192], (2, 1, 1, 1)) <= phantom(GRID).T).astype(np.uint8)


def overlapping(grid: Grid) -> np.ndarray:
    """(2, columns, rows, slices) of 0 and 1: a box, and one that reaches into it."""
    labels = np.zeros((2, grid.columns, grid.rows, grid.slices), dtype=np.uint8)
    labels[0, 5:20, 3:9, 4:8] = 1
    labels[1, 15:30, 5:7, 6:12] = 1
    return labels


def in_file(path: str) -> np.ndarray:
    """(segments, columns, rows, slices) of 0 and 1 as others read them."""
    if path.endswith(".nii.gz"):
        image = nibabel.load(path)
        assert np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ GRID.affine())
        return np.moveaxis(np.asarray(image.dataobj), -1, 0)
    itk = pytest.importorskip("itk")
    image = itk.imread(path, itk.Vector[itk.F, 2])  # it has no vectors of two bytes
    assert np.allclose(image.TransformIndexToPhysicalPoint([7, 5, 3]), GRID.world((7, 5, 3)), atol=1e-6)
    return itk.array_from_image(image).T


@pytest.mark.parametrize("kind", ["nifti", "nrrd"])
def test_classes_that_overlap_are_all_there(kind: str, overlapping_bundle: Path, tmp_path: Path) -> None:
    assert (TRUTH.sum(axis=0) == 2).any()
    source = save_shuffled(small_series(GRID, phantom(GRID)), tmp_path / "in")
    assert call("segment", source, "-b", overlapping_bundle, "-o", tmp_path / "out", "--format", kind) == 0
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    assert np.array_equal(in_file(entry["output"]), TRUTH)
    segments = json.loads(Path(entry["labels"]).read_text())["segments"]
    assert [(each["layer"], each["value"]) for each in segments] == [(0, 1), (1, 1)]
    assert [each["voxels"] for each in segments] == TRUTH.sum(axis=(1, 2, 3)).tolist()


def test_a_seg_holds_a_frame_for_each_class_that_overlaps(overlapping_bundle: Path, tmp_path: Path) -> None:
    source = save_shuffled(small_series(GRID, phantom(GRID)), tmp_path / "in")
    assert call("segment", source, "-b", overlapping_bundle, "-o", tmp_path / "out") == 0
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    seg = highdicom.seg.segread(entry["output"])
    places = [
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    numbers = [
        int(f.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for f in seg.PerFrameFunctionalGroupsSequence
    ]
    found = np.zeros_like(TRUTH)
    for pixels, place, number in zip(seg.pixel_array, places, numbers, strict=True):
        found[number - 1, :, :, round((place - GRID.origin[2]) / GRID.step[2])] = pixels.T
    assert np.array_equal(found, TRUTH)


def test_seg_nrrd_says_in_which_layer_a_class_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(overlapping(GRID), GRID.affine(), path, ENTRY.segments)
    header = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "sizes: 2 40 32 24" in header
    assert "kinds: list domain domain domain" in header
    assert {"Segment0_Layer:=0", "Segment1_Layer:=1", "Segment0_LabelValue:=1", "Segment1_LabelValue:=1"} <= set(header)
    assert "Segment1_Extent:=15 29 5 6 6 11" in header


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_seg_nrrd(overlapping(GRID), GRID.affine(), tmp_path / name, ENTRY.segments)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_more_than_255_classes_keep_their_numbers(tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    grid = oblique_grid(30, 20)
    labels = np.arange(grid.columns * grid.rows * grid.slices, dtype=np.uint16).reshape(40, 32, 24)
    write_seg_nrrd(labels, grid.affine(), tmp_path / "a.seg.nrrd", {})
    image = itk.imread(str(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(itk.array_from_image(image).T, labels)
    assert np.allclose(image.TransformIndexToPhysicalPoint([7, 5, 3]), grid.world((7, 5, 3)), atol=1e-5)


def test_sheared_slices_go_to_nifti_alone(tmp_path: Path) -> None:
    grid = tilted_grid(15)
    with pytest.raises(DicomError, match="choose --format seg or nifti"):
        write_seg_nrrd(overlapping(grid), grid.affine(), tmp_path / "a.seg.nrrd", ENTRY.segments)
    affine, labels = swap_ras_lps(grid.affine()), overlapping(grid)
    comment = nifti_comment(labels, ENTRY.segments)
    write_nifti(stored_values(labels), affine, tmp_path / "a.nii.gz", units="mm", comment=comment)
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (40, 32, 24, 2)
    assert np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ grid.affine())
