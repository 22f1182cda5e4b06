"""The table of input cases I1 to I25: code, verdict, geometry and values of each; and no person's data in any message."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import dicom_cases_files
import dicom_cases_geometry
import dicom_cases_values
import dicom_cases_volume_files
import numpy as np
import pytest
from dicom_case import CASES, PHI_CANARIES, Case, CaseWriter

from monai_dis.checks.findings import CODES, Policy
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan

# Importing a module of cases registers them.
REGISTERED = (dicom_cases_geometry, dicom_cases_values, dicom_cases_files, dicom_cases_volume_files)
SLOW = {"I25a-many-slices", "I25b-large-multiframe"}
ABDOMINAL_CT = {"modality": "CT", "body_part": "ABDOMEN"}


def written(case: Case, root: Path) -> dict[str, Any]:
    """What is expected of a case, after its files are written."""
    writer = CaseWriter(case.name, root)
    writer.folder.mkdir(parents=True)
    case.build(writer)
    return {"input": case.name, "bundle": ABDOMINAL_CT, "volumes": [], "landmarks": [], "checks": {}, **writer.record}


def target(expected: dict[str, Any]) -> Target:
    return Target((expected["bundle"]["modality"],), (expected["bundle"]["body_part"],))


def test_every_item_of_the_list_has_a_case() -> None:
    assert len(REGISTERED) == 4
    assert {case.item for case in CASES} == {f"I{number}" for number in range(26)}
    assert {case.code for case in CASES} - {None} <= set(CODES)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.name in SLOW else []) for c in CASES]
)
def test_code_verdict_and_volume(case: Case, tmp_path: Path) -> None:
    expected = written(case, tmp_path)
    code, verdict = case.code, case.verdict
    with inspect(tmp_path / expected["input"], target(expected)) as found:
        report = found.to_dict()
        assert report["verdict"] == verdict, report["findings"]
        assert code is None or code in [each["code"] for each in report["findings"]]
        assert_discreet(json.dumps(report, ensure_ascii=False), tmp_path)
        if verdict == "reject":
            assert not found.volumes
            return
        assert len(found.volumes) == len(expected["volumes"]) == 1
        check_volume(found.volumes[0], report["volumes"][0], expected)


def check_volume(volume: Any, described: dict[str, Any], expected: dict[str, Any]) -> None:
    shape = described["shape_columns_rows_slices"]
    assert shape == expected["volumes"][0]["shape_columns_rows_slices"]
    affine = np.asarray(described["affine_lps_mm"])
    assert np.linalg.det(affine[:3, :3]) != 0
    # Rounded positions (I1d) are known to 0.01 mm, others exactly.
    place_tolerance = 2 * expected["checks"].get("position_tolerance_mm", 5e-4)
    checks = expected["checks"]
    value_tolerance = checks.get("value_tolerance", checks.get("stored_value_tolerance", 1e-3))
    values = read_volume(volume) if isinstance(volume, VolumePlan) else None
    for mark in expected["landmarks"]:
        world = np.asarray(mark["world_lps_mm"])
        index = tuple(np.rint(np.linalg.inv(affine) @ [*world, 1.0])[:3].astype(int))
        assert np.abs((affine @ [*index, 1.0])[:3] - world).max() < place_tolerance
        if values is not None:
            assert abs(values[index] - mark["value"]) <= value_tolerance
    if values is not None and "minimum_value_after_padding" in checks:
        assert values.min() == checks["minimum_value_after_padding"]
    if values is not None and "minimum_value" in checks:
        assert values.min() == checks["minimum_value"]


def assert_discreet(text: str, folder: Path) -> None:
    """No person's data and no path in a text."""
    for canary in (*PHI_CANARIES, "Canary", "19700101", str(folder)):
        assert canary not in text


@functools.cache
def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize(
    ("name", "instances", "words"),
    [
        pytest.param("I1a-slice-missing", 1, "first behind slice 11", id="where-the-gap-is"),
        pytest.param("I1b-slices-missing-four", 4, "4 slices are missing", id="how-many-are-missing"),
        pytest.param("I3a-gantry-tilt", 24, "15.00 degrees", id="tilt-is-measured"),
        pytest.param("I7b-enhanced-mr-two-echoes", 48, "EffectiveEchoTime 20.0, 40.0", id="echoes-in-frames"),
        pytest.param("I10a-multi-echo", 48, "2 volumes (24, 24 slices) told apart by EchoTime 20, 80", id="echoes"),
        pytest.param("I10b-multi-b-value", 48, "DiffusionBValue 0.0, 800.0", id="b-values"),
        pytest.param("I10c-multi-phase", 48, "AcquisitionNumber 1, 2", id="phases"),
        pytest.param("I10d-time-points", 48, "TemporalPositionIdentifier 1, 2", id="time-points"),
        pytest.param("I9a-localizer", 2, "localizer images are left out", id="scouts-are-counted"),
        pytest.param("I19a-other-objects", 4, "no images", id="other-objects-are-counted"),
        pytest.param("I21c-foreign-files", 3, "not DICOM", id="foreign-files-are-counted"),
        pytest.param(
            "I11a-series-two",
            2,
            "'Soft tissue 3 mm', CT, axial, 24 slices, 2 x 2 x 3 mm: --select",
            id="table-of-series",
        ),
    ],
)
def test_messages_say_what_was_measured(name: str, instances: int, words: str, tmp_path: Path) -> None:
    case = case_named(name)
    expected = written(case, tmp_path)
    with inspect(tmp_path / expected["input"], target(expected)) as found:
        mine = next(each for each in found.findings if each.code == case.code)
    assert words in mine.message
    assert mine.instances == instances


def test_a_selection_chooses_one_volume(tmp_path: Path) -> None:
    expected = written(case_named("I10a-multi-echo"), tmp_path)
    with inspect(tmp_path / expected["input"], target(expected), selection={"EchoTime": "80.0"}) as found:
        assert (found.verdict, found.volumes[0].shape) == (Policy.FIX, (40, 32, 24))
        # the second echo is 60 units brighter
        assert read_volume(found.volumes[0])[27, 9, 5] == 2260


def test_a_selection_chooses_one_series(tmp_path: Path) -> None:
    expected = written(case_named("I11a-series-two"), tmp_path)
    with inspect(tmp_path / expected["input"], target(expected), selection={"SeriesNumber": "2"}) as found:
        assert (found.verdict, len(found.volumes)) == (Policy.ACCEPT, 1)
    with inspect(tmp_path / expected["input"], target(expected), selection={"SeriesNumber": "7"}) as found:
        assert found.verdict is Policy.REJECT


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    first = written(case_named("I21a-truncated"), tmp_path)
    written(case_named("I21c-foreign-files"), tmp_path / first["input"] / "more")
    with inspect(tmp_path / first["input"], target(first)) as found:
        codes = {each.code for each in found.findings}
    assert {"FILE_TRUNCATED", "FILE_NOT_DICOM", "STUDY_MIXED"} <= codes
