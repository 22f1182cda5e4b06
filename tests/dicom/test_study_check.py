"""`dicom check`: every study of a tree for itself, and for each bundle whether it fits and why not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from dicom_objects import Identity, ct_series
from dicom_phantom import Grid, phantom
from dicom_study import save_shuffled, small_series

from monai_dis.checks.findings import Policy
from monai_dis.checks.size import check_extent
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.study_check import check_studies
from monai_dis.dicom.target import Target
from monai_dis.errors import DicomError
from monai_dis.pipeline.model import Model

SMALL = replace(Grid(), columns=28, rows=16, slices=17)


def tree(root: Path) -> Path:
    """A good study, one that lacks a slice, and a folder with nothing of DICOM in it; folders are called like persons."""
    for name in ("whole", "gap"):
        series = ct_series(Identity(name), SMALL, phantom(SMALL))
        save_shuffled(series if name == "whole" else [*series[:5], *series[6:]], root / f"CANARY {name}")
    (root / "CANARY notes").mkdir()
    (root / "CANARY notes" / "a.txt").write_text("nothing of DICOM here")
    return root


def test_each_study_of_a_tree_is_checked_for_itself(
    volume_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, file = tree(tmp_path / "in"), tmp_path / "check.json"
    assert call("dicom", "check", root, "--bundle", volume_bundle, "--json", file) == 3
    report = json.loads(file.read_text())
    gap, notes, whole = report["studies"]
    assert [each["verdict"] for each in report["studies"]] == ["reject", "reject", "accept"]
    assert [each["study"] for each in report["studies"]] == [1, 2, 3]
    assert [each["code"] for each in gap["findings"]] == ["SLICE_GAP"]
    assert "INPUT_EMPTY" in [each["code"] for each in notes["findings"]]
    assert whole["volumes"] == report["volumes"]
    assert whole["volumes"][0]["shape_columns_rows_slices"] == [28, 16, 17]
    assert report["verdict"] == "reject"
    assert {each["code"] for each in report["findings"]} >= {"SLICE_GAP", "INPUT_EMPTY"}
    printed = capsys.readouterr().out
    assert "1 of 3 studies can be segmented" in printed
    assert f"study 3 ({whole['study_instance_uid']}): accept" in printed.replace("\n", " ")
    assert "STUDY_MIXED" not in printed + file.read_text()
    assert "CANARY" not in printed + file.read_text()


def test_for_each_bundle_it_is_said_why_it_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("dicom", "check", tree(tmp_path / "in"), "--json", tmp_path / "check.json") == 3
    bundles = json.loads((tmp_path / "check.json").read_text())["studies"][2]["bundles"]
    assert bundles["skin_lesion_dis"]["verdict"] == "reject"
    assert [each["code"] for each in bundles["skin_lesion_dis"]["why_not"]] == ["MODALITY_MISMATCH"]
    assert "MODALITY_MISMATCH: the images are CT, the bundle takes" in " ".join(capsys.readouterr().out.split())


def test_a_bundle_that_fits_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    bundles = {"of CT": Target(("CT",)), "of MR": Target(("MR",)), "of pictures": None}
    checks = list(check_studies(tree(tmp_path), Target(), bundles))
    assert [[check.why_not(name) == () for check in checks if check.bundles] for name in bundles] == [
        [False, True],
        [False, False],
        [False, False],
    ]
    codes = {name: [each.code for each in checks[0].why_not(name) or ()] for name in bundles}
    assert codes == {"of CT": ["SLICE_GAP"], "of MR": ["MODALITY_MISMATCH", "SLICE_GAP"], "of pictures": []}
    assert checks[0].why_not("of pictures") is None


def test_a_single_study_is_reported_as_before(tmp_path: Path) -> None:
    folder = save_shuffled(ct_series(Identity("one"), SMALL, phantom(SMALL)), tmp_path / "in")
    assert call("dicom", "check", folder, "--json", tmp_path / "check.json") == 0
    report = json.loads((tmp_path / "check.json").read_text())
    assert set(report) == {"verdict", "findings", "volumes", "series", "bundles"}


def test_a_volume_that_is_too_small_for_the_network_is_refused_at_the_check(tmp_path: Path) -> None:
    """Not only when the network starts: by a code that an integrator finds in the table."""
    source = save_shuffled(small_series(SMALL, phantom(SMALL)), tmp_path / "in")
    size, spacing = (SMALL.columns, SMALL.rows, SMALL.slices), np.linalg.norm(SMALL.affine()[:3, :3], axis=0)
    sides = [(n - 1) * step for n, step in zip(size, spacing, strict=True)]
    with inspect(source, Target(smallest_mm=max(sides))) as found:
        assert found.verdict is not Policy.REJECT
    with inspect(source, Target(smallest_mm=max(sides) + 1)) as found:
        assert [each.code for each in found.findings if each.policy is Policy.REJECT] == ["IMAGE_TOO_SMALL"]
        assert "mm on one side at least; choose a larger image." in str(found.findings)
    with pytest.raises(DicomError, match="IMAGE_TOO_SMALL"):
        found.raise_if_rejected()


@pytest.mark.parametrize("voxels", [32, 33])
def test_the_smallest_extent_of_the_left_atrium_is_that_of_its_network(voxels: int) -> None:
    """One more voxel of its spacing, and the network has something to normalise."""
    model = Model.open("left_atrium_mr_dis", {"device": "cpu"})
    assert model.metadata is not None and model.metadata.smallest_mm == 20
    small = bool(check_extent((voxels, 8, 8), np.diag([0.625, 0.625, 0.625, 1.0]), model.metadata.smallest_mm))
    # Every window: which ones a budget chooses depends on the image.
    everywhere = model.inferer.without_level_budgets().with_budget(None)
    try:
        with torch.no_grad():
            everywhere.run(torch.rand(1, 1, voxels, 8, 8), model.network)
    except ValueError as error:
        assert small and "spatial element" in str(error)
    else:
        assert not small
