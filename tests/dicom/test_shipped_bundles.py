"""What the bundles that come with us say for DICOM: standard codes, and a refusal of what they were not made for."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import call
from dicom_phantom import Grid
from dicom_study import save_shuffled, small_series
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_dis.bundle import BundleMetadata, known_bundles

ORGANS = {"82471001", "10200004", "64033007", "78961009"}
SHIPPED = [name for name, folder in known_bundles().items() if BundleMetadata.read(folder).dicom is not None]


def concepts() -> set[tuple[str, str]]:
    """Values and meanings of the SNOMED concepts that pydicom takes from the standard."""
    found = set()
    for name in dir(codes.SCT):
        with contextlib.suppress(RuntimeError):  # some names stand for several concepts
            code = getattr(codes.SCT, name)
            if isinstance(code, Code):
                found.add((code.value, code.meaning.lower()))
    return found


def test_our_bundles_have_entries() -> None:
    assert {"fundus_vessels_dis", "skin_lesion_dis", "left_atrium_mr_dis", "abdominal_organs_mr_dis"} <= set(SHIPPED)


@pytest.mark.skipif(int(pydicom.__version__.split(".")[0]) < 3, reason="pydicom 2 knows codes of an older standard")
@pytest.mark.parametrize("name", SHIPPED)
def test_segments_are_the_networks_classes_with_codes_of_the_standard(name: str) -> None:
    metadata = BundleMetadata.read(known_bundles()[name])
    assert metadata.dicom is not None
    known = concepts()
    foreground = [label for index, label in metadata.classes.items() if label != "background"]
    assert len(metadata.dicom.segments) == len(foreground)
    for label, segment in zip(foreground, metadata.dicom.segments.values(), strict=True):
        assert label.lower() in segment.label.lower()
        # what is found in an organ has a region; an organ is one
        assert segment.region is not None or segment.type.value in ORGANS
        for code in filter(None, (segment.category, segment.type, segment.region)):
            assert code.scheme == "SCT"
            assert (code.value, code.meaning.lower()) in known


@pytest.mark.parametrize(
    "name", ["fundus_vessels_dis", "skin_lesion_dis", "left_atrium_mr_dis", "abdominal_organs_mr_dis"]
)
def test_a_ct_is_refused(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grid = Grid(slices=2)
    source = save_shuffled(small_series(grid, np.zeros((2, 32, 40), int)), tmp_path / "in")
    assert call("segment", source, "-b", name, "-o", tmp_path / "out") == 1
    error = capfd.readouterr().err
    assert "MODALITY_MISMATCH" in error
    assert "the images are CT, the bundle takes" in error
    assert not list((tmp_path / "out").glob("*.dcm"))


@pytest.mark.parametrize(
    ("row", "column", "step"),
    [
        pytest.param((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 3.0), id="axial"),
        pytest.param((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-3.0, 0.0, 0.0), id="sagittal"),
    ],
)
def test_a_site_may_let_the_wrong_modality_pass_and_the_result_says_so(
    row: tuple[float, ...], column: tuple[float, ...], step: tuple[float, ...], tmp_path: Path
) -> None:
    grid = Grid(columns=64, rows=48, slices=2, row_direction=row, column_direction=column, step=step)  # type: ignore[arg-type]
    values = np.random.default_rng(0).integers(-1000, 1000, (2, 48, 64))
    source = save_shuffled(small_series(grid, values), tmp_path / "in")
    command = ("segment", source, "-b", "skin_lesion_dis", "-o", tmp_path / "out", "--policy", "MODALITY_MISMATCH=warn")
    assert call(*command, "--uncertainty") == 0
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    seg = pydicom.dcmread(entry["output"])
    assert (seg.Rows, seg.Columns) == (48, 64)
    assert "MODALITY_MISMATCH" in seg.SeriesDescription
    assert entry["windows_total"] % 2 == 0  # of both slices
    assert pydicom.dcmread(entry["uncertainty"]).SegmentationType == "FRACTIONAL"
