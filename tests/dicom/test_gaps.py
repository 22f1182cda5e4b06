"""A gap that a site lets pass: the slices that are there stay where they are, those that are not are not assessed (I1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_phantom import Grid, phantom, tilted_grid
from dicom_study import ENTRY, identity_of, save_shuffled, small_series

from monai_dis.checks.findings import Policy, read_policy
from monai_dis.checks.limits import Limits
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan

RELAXED = read_policy({"SLICE_GAP": "warn"})
MISSING = (7, 12, 13)


def with_gaps(folder: Path, grid: Grid) -> Path:
    series = small_series(grid, phantom(grid))
    return save_shuffled([data for index, data in enumerate(series) if index not in MISSING], folder)


@pytest.mark.parametrize("grid", [pytest.param(Grid(), id="axial"), pytest.param(tilted_grid(15), id="tilted")])
def test_slices_keep_their_places_and_none_is_written_for_the_gap(grid: Grid, tmp_path: Path) -> None:
    with inspect(with_gaps(tmp_path, grid), Target(), policies=RELAXED) as found:
        assert found.verdict is Policy.WARN
        plan = found.volumes[0]
        assert isinstance(plan, VolumePlan)
        assert (plan.shape, plan.missing) == ((40, 32, 24), MISSING)
        assert np.allclose(plan.affine_lps, grid.affine(), atol=1e-6)
        values, truth = read_volume(plan), phantom(grid).T.astype(float)
        there = [index for index in range(24) if index not in MISSING]
        assert np.array_equal(values[:, :, there], truth[:, :, there])
        assert np.allclose(values[:, :, 12], (2 * truth[:, :, 11] + truth[:, :, 14]) / 3, atol=1e-3)
        labels = np.ones(plan.shape, np.uint8)
        seg = make_seg(labels, plan, read_first_header(plan, Limits()), ENTRY, identity_of(plan))
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in seg.PerFrameFunctionalGroupsSequence]
    found_places = {tuple(np.round([float(v) for v in place], 6)) for place in places}
    assert found_places == {tuple(np.round(grid.position(index), 6)) for index in there}


def test_a_gap_is_refused_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    with inspect(with_gaps(tmp_path, Grid()), Target()) as found:
        assert [each.code for each in found.findings] == ["SLICE_GAP"]
        assert found.findings[0].instances == 3
        assert "first behind slice 7" in found.findings[0].message


def test_a_gap_that_does_not_fit_the_limits_is_refused(tmp_path: Path) -> None:
    series = small_series(Grid(), phantom(Grid()))
    series[-1].ImagePositionPatient = [-39, -31, -100 + 3 * 5000]
    with inspect(
        save_shuffled(series, tmp_path), Target(), policies=RELAXED, limits=Limits(volume_bytes=1 << 22)
    ) as found:
        assert "LIMIT_EXCEEDED" in [each.code for each in found.findings]
        assert not found.volumes


def test_slices_off_the_line_are_refused_beside_a_gap_too(tmp_path: Path) -> None:
    folder = with_gaps(tmp_path, Grid())
    file = next(path for path in folder.iterdir() if pydicom.dcmread(path).InstanceNumber == 5)
    data = pydicom.dcmread(file)
    data.ImagePositionPatient[0] += 4
    data.save_as(file)
    with inspect(folder, Target(), policies=RELAXED) as found:
        assert "SPACING_NON_UNIFORM" in [each.code for each in found.findings]
        assert found.verdict is Policy.REJECT
