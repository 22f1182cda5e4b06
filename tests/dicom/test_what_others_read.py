"""What other readers read: odd but readable files, and series that are named as what they are (I9, I10, I16, I18)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_objects import SECONDARY_CAPTURE, Identity, ct_series, mr_series
from dicom_phantom import Grid, phantom
from dicom_study import ENTRY, identity_of, save_shuffled
from PIL import Image
from pydicom.dataset import Dataset

from monai_dis.checks.findings import Policy, read_policy
from monai_dis.checks.limits import Limits
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import copy_series, read_first_header
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan

SMALL = replace(Grid(), columns=30, rows=12, slices=12)
CT = Target(("CT",))


def small() -> list[Dataset]:
    return ct_series(Identity("odd"), SMALL)


def swapped(content: bytes) -> bytes:
    """KVP behind the element that follows it."""
    start = content.index(b"\x18\x00\x60\x00DS")
    first = 8 + struct.unpack_from("<H", content, start + 6)[0]
    second = 8 + struct.unpack_from("<H", content, start + first + 6)[0]
    between = content[start + first : start + first + second]
    return content[:start] + between + content[start : start + first] + content[start + first + second :]


def twice(content: bytes) -> bytes:
    start = content.index(b"\x18\x00\x60\x00DS")
    size = 8 + struct.unpack_from("<H", content, start + 6)[0]
    return content[:start] + content[start : start + size] + content[start:]


@pytest.mark.parametrize(("change", "read"), [(swapped, True), (twice, False)], ids=["out-of-order", "twice"])
def test_the_order_of_elements_does_not_matter_but_their_number_does(
    change: Callable[[bytes], bytes], read: bool, tmp_path: Path
) -> None:
    for path in save_shuffled(small(), tmp_path).iterdir():
        path.write_bytes(change(path.read_bytes()))
        assert pydicom.dcmread(path).KVP == 120
    with inspect(tmp_path, CT) as found:
        assert bool(found.volumes) is read, found.findings
        if read:
            assert isinstance(found.volumes[0], VolumePlan)
            assert np.array_equal(read_volume(found.volumes[0]), phantom(SMALL).T)


@pytest.mark.parametrize("blank", ["", " "])
def test_empty_numbers_are_absent_ones(blank: str, tmp_path: Path) -> None:
    series = small()
    for data in series:
        for keyword in (
            "SliceThickness",
            "EchoTime",
            "KVP",
            "SliceLocation",
            "AcquisitionNumber",
            "GantryDetectorTilt",
        ):
            data.add_new(keyword, "IS" if keyword == "AcquisitionNumber" else "DS", None)
    for path in save_shuffled(series, tmp_path).iterdir():
        content = path.read_bytes()
        if blank:
            content = content.replace(b"\x18\x00\x50\x00DS\x00\x00", b"\x18\x00\x50\x00DS\x02\x00  ")
        path.write_bytes(content)
    with inspect(tmp_path, CT) as found:
        assert found.volumes, found.findings


def test_mosaics_are_named(tmp_path: Path) -> None:
    series = mr_series(Identity("mosaic", modality="MR"), SMALL)
    for data in series:
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    with inspect(save_shuffled(series, tmp_path), Target(("MR",))) as found:
        assert [each.code for each in found.findings] == ["MOSAIC"]
        assert "mosaic of many slices" in found.findings[0].message


def frames_of_reference() -> list[Dataset]:
    series = small()
    for index, data in enumerate(series):
        data.FrameOfReferenceUID = f"1.2.3.{index // 6}"
    return series


def captures() -> list[Dataset]:
    series = small()
    for data in series:
        data.SOPClassUID = SECONDARY_CAPTURE
    return series


@pytest.mark.parametrize(
    ("make", "code"),
    [(frames_of_reference, "FRAME_OF_REFERENCE_MIXED"), (captures, "SECONDARY_CAPTURE")],
    ids=["frames-of-reference", "captures"],
)
def test_a_site_may_trust_positions(make: Callable[[], Sequence[Dataset]], code: str, tmp_path: Path) -> None:
    save_shuffled(make(), tmp_path)
    with inspect(tmp_path, CT) as found:
        assert code in [each.code for each in found.findings if each.policy is Policy.REJECT]
    with inspect(tmp_path, CT, policies=read_policy({code: "warn"})) as found:
        assert found.verdict is Policy.WARN
        plan = found.volumes[0]
        assert isinstance(plan, VolumePlan)
        labels = (read_volume(plan) > 100).astype(np.uint8)
        seg = make_seg(labels, plan, read_first_header(plan, Limits()), ENTRY, identity_of(plan))
    assert np.count_nonzero(seg.pixel_array) == np.count_nonzero(labels)


def test_positions_that_do_not_fit_are_not_trusted(tmp_path: Path) -> None:
    series = captures()
    del series[3].ImagePositionPatient
    with inspect(save_shuffled(series, tmp_path), CT, policies=read_policy({"SECONDARY_CAPTURE": "warn"})) as found:
        assert "ATTRIBUTE_MISSING" in [each.code for each in found.findings]


def test_a_series_of_several_volumes_is_not_called_one_with_wrong_slices(tmp_path: Path) -> None:
    series = []
    for number in range(3):
        volume = mr_series(Identity("4d", modality="MR"), SMALL, phantom(SMALL) + number)
        for data in volume:
            data.SOPInstanceUID = f"{data.SOPInstanceUID[:40]}.{number}"
        series.extend(volume)
    with inspect(save_shuffled(series, tmp_path), Target(("MR",))) as found:
        (several,) = (each for each in found.findings if each.policy is Policy.REJECT)
    assert several.code == "VOLUME_MULTIPLE"
    assert "12 of 12 positions hold up to 3 slices" in several.message
    assert "remove" not in several.message


@pytest.mark.skipif(shutil.which("img2dcm") is None, reason="needs DCMTK")
def test_a_wrapped_photograph_is_a_photograph(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 32, 3), 90, np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "in").mkdir()
    subprocess.run(
        ["img2dcm", "-vlp", "-i", "JPEG", tmp_path / "a.jpg", tmp_path / "in" / "a.dcm"],
        check=True,
        capture_output=True,
    )
    assert list(pydicom.dcmread(tmp_path / "in" / "a.dcm").ImageType) == ["DERIVED", "SECONDARY"]
    with inspect(tmp_path / "in", Target(("XC",), spatial_dims=2, colour=True)) as found:
        assert found.verdict is not Policy.REJECT, found.findings
        assert found.volumes


@pytest.mark.parametrize(("side", "copied"), [("L", True), ("R", True), ("B", False), ("", False), ("U", False)])
def test_a_side_is_copied_where_it_is_one(side: str, copied: bool) -> None:
    source, result = Dataset(), Dataset()
    source.Laterality, source.BodyPartExamined = side, "KNEE"
    copy_series(source, result)
    assert ("Laterality" in result) is copied
    assert result.BodyPartExamined == "KNEE"
