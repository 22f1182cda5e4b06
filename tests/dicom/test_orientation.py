"""Orientation and spacing that differ in their last digits: what the check accepts is written, with one orientation (I9, O2)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import ENHANCED_CT_IMAGE, Identity, ct_series, enhanced_image
from dicom_phantom import Grid, oblique_grid, phantom
from dicom_study import ENTRY, identity_of, save_shuffled
from pydicom.dataset import Dataset

from monai_dis.checks.findings import Policy
from monai_dis.checks.limits import Limits
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.dicom.writing import write_object

STRAIGHT = np.array([1.0, 0, 0, 0, 1, 0])
SLANTED = oblique_grid(25.0, -15.0)


def noisy(size: float) -> Callable[[], Sequence[Dataset]]:
    """A series whose slices have orientations of their own, as current scanners write them."""

    def make() -> Sequence[Dataset]:
        random, series = np.random.default_rng(0), ct_series(Identity("noise"))
        for data in series[1:]:
            values = STRAIGHT + random.uniform(-1, 1, 6) * size
            data.ImageOrientationPatient = [f"{value:.11f}" for value in values]
        return series

    return make


def rounded(decimals: int) -> Callable[[], Sequence[Dataset]]:
    """An oblique series whose cosines have few digits, so that they are neither of unit length nor at right angles."""

    def make() -> Sequence[Dataset]:
        series = ct_series(Identity("rounded"), SLANTED)
        for data in series:
            values = [*SLANTED.row_direction, *SLANTED.column_direction]
            data.ImageOrientationPatient = [f"{value:.{decimals}f}" for value in values]
        return series

    return make


def noisy_spacing() -> Sequence[Dataset]:
    series = ct_series(Identity("spacing"))
    for index, data in enumerate(series):
        data.PixelSpacing = [f"{2 + 4e-5 * (index % 3):.6f}"] * 2
    return series


def noisy_frames() -> Sequence[Dataset]:
    """One multi-frame object with an orientation for each frame."""
    grid, random = Grid(), np.random.default_rng(0)
    stored = phantom(grid)[None].astype(int) + 1024
    data = enhanced_image(
        Identity("frames"), ENHANCED_CT_IMAGE, grid, stored, [(0, index) for index in range(grid.slices)]
    )
    del data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for group in data.PerFrameFunctionalGroupsSequence:
        own = Dataset()
        own.ImageOrientationPatient = [f"{value:.11f}" for value in STRAIGHT + random.uniform(-1, 1, 6) * 1e-7]
        group.PlaneOrientationSequence = [own]
    return [data]


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(noisy(10.0**-digit), id=f"noise-of-1e-{digit}") for digit in (9, 7, 6, 5, 4)),
        pytest.param(rounded(3), id="three-decimals"),
        pytest.param(rounded(6), id="six-decimals"),
        pytest.param(noisy_spacing, id="spacing"),
        pytest.param(noisy_frames, id="frames"),
    ],
)
def test_what_the_check_accepts_is_written(make: Callable[[], Sequence[Dataset]], tmp_path: Path) -> None:
    with inspect(save_shuffled(make(), tmp_path / "in"), Target(("CT",))) as found:
        assert found.verdict in (Policy.ACCEPT, Policy.FIX), found.findings
        plan = found.volumes[0]
        assert isinstance(plan, VolumePlan)
        labels = (read_volume(plan) > 100).astype(np.uint8)
        seg = make_seg(labels, plan, read_first_header(plan, Limits()), ENTRY, identity_of(plan))
    groups = [seg.SharedFunctionalGroupsSequence[0], *seg.PerFrameFunctionalGroupsSequence]
    oriented = [group for group in groups if "PlaneOrientationSequence" in group]
    assert len(oriented) == 1
    orientation = [float(each) for each in oriented[0].PlaneOrientationSequence[0].ImageOrientationPatient]
    assert np.allclose(orientation, [*plan.frames[0].row, *plan.frames[0].column], atol=1e-10)
    places = [frame.position for frame in plan.frames]
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:
            where = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
            distances = np.linalg.norm(np.asarray(places) - where, axis=1)
            assert distances.min() < 1e-6
            assert np.array_equal(frame, labels[:, :, distances.argmin()].T)
    if (program := shutil.which("dciodvfy")) is not None:
        write_object(seg, tmp_path / "seg.dcm")
        said = subprocess.run([program, tmp_path / "seg.dcm"], capture_output=True, check=False).stderr.decode(
            "latin-1"
        )
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.parametrize(
    ("degrees", "verdict"), [(0.05, Policy.ACCEPT), (0.2, Policy.REJECT)], ids=["within", "beyond"]
)
def test_the_tolerance_is_a_tenth_of_a_degree(degrees: float, verdict: Policy, tmp_path: Path) -> None:
    grid = replace(Grid(), slices=8)
    series, angle = ct_series(Identity("angle"), grid), np.radians(degrees)
    turned = [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]
    series[4].ImageOrientationPatient = [f"{value:.12f}" for value in turned]
    with inspect(save_shuffled(series, tmp_path), Target(("CT",))) as found:
        assert found.verdict is verdict
