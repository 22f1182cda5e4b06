"""Files that lie: whatever bytes come, the answer is a finding, in bounded time and memory."""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import deflate, write_part10, write_zip
from dicom_objects import Identity, ct_series
from dicom_phantom import Grid
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from monai_dis.checks.findings import Policy
from monai_dis.checks.limits import Limits
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.instance import read_instance
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.sources import is_dicom_input
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

SMALL = Limits(expanded_bytes=1 << 20, small_bytes=1 << 18, volume_bytes=1 << 22, file_bytes=1 << 22, files=100)
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def small_slice() -> Dataset:
    return ct_series(Identity("hostile"), Grid(columns=8, rows=6, slices=1), np.zeros((1, 6, 8), dtype=int))[0]


def slice_bytes(syntax: str, folder: Path) -> bytes:
    """A small valid file; big-endian pixels are not swapped, which no check can see."""
    write_part10(folder / "valid", small_slice(), syntax)
    content = (folder / "valid").read_bytes()
    (folder / "valid").unlink()
    return content


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with bytes replaced, removed or put in, and perhaps cut short."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(128, len(data) - 1))
        kind = draw(st.sampled_from(["replace", "ones", "remove", "insert"]))
        if kind == "replace":
            data[place] = draw(st.integers(0, 255))
        elif kind == "ones":
            data[place : place + 4] = b"\xff" * 4
        elif kind == "remove":
            del data[place : place + draw(st.integers(1, 8))]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        if len(data) <= 130:
            break
    return bytes(data[: draw(st.integers(1, len(data)))] if draw(st.booleans()) else data)


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_ends_in_a_finding(syntax: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = data.draw(damaged(slice_bytes(syntax, folder)))
        (folder / "image").write_bytes(content)
        with inspect(folder, Target(("CT",), spatial_dims=2), limits=SMALL) as found:
            assert found.verdict in Policy
            for volume in found.volumes:
                assert isinstance(volume, VolumePlan)
                try:
                    assert read_volume(volume, SMALL).shape == volume.shape
                except DicomError as error:
                    assert "CANARY" not in str(error)
            assert "CANARY" not in str(found.to_dict())


def volume_bytes(suffix: str) -> bytes:
    """A small valid volume file."""
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"volume{suffix}"
        if suffix.startswith(".nii"):
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2, 3, 1])), path)
        else:
            pytest.importorskip("itk").imwrite(pytest.importorskip("itk").image_from_array(values), str(path))
        return path.read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@settings(max_examples=100)
@given(data=st.data())
def test_a_damaged_volume_file_ends_in_a_finding(suffix: str, data: st.DataObject) -> None:
    content = bytearray(volume_bytes(suffix))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"CANARY{suffix}"
        path.write_bytes(bytes(content))
        with inspect(path, Target(), limits=SMALL) as found:
            assert found.verdict in Policy
            assert "CANARY" not in str(found.to_dict())
            for volume in found.volumes:
                assert np.isfinite(volume.affine_lps).all()
                assert min(volume.shape) > 0


@given(content=st.binary(max_size=400), prefix=st.booleans())
def test_any_bytes_end_in_a_finding(content: bytes, prefix: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "file"
        path.write_bytes(bytes(128) + b"DICM" + content if prefix else content)
        is_dicom_input(path)
        with inspect(path, Target(), limits=SMALL) as found:
            assert found.verdict is Policy.REJECT
            assert not found.volumes


@pytest.mark.parametrize("defined", [True, False], ids=["defined-length", "undefined-length"])
@pytest.mark.parametrize(("depth", "accepted"), [(10, True), (31, True), (40, False), (5000, False)])
def test_nesting_is_bounded(defined: bool, depth: int, accepted: bool, tmp_path: Path) -> None:
    data = small_slice()
    del data.PixelData
    write_part10(tmp_path / "file", data)
    inner = b""
    for _ in range(depth):
        size = 8 + len(inner)
        head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, size if defined else 0xFFFFFFFF)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner) if defined else 0xFFFFFFFF)
        tail = b"" if defined else struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        inner = head + item + inner + tail
    with (tmp_path / "file").open("ab") as file:
        file.write(inner)
    instance, findings = read_instance(tmp_path / "file", Limits())
    assert (instance is not None) is accepted
    assert [each.code for each in findings] == ([] if accepted else ["LIMIT_EXCEEDED"])


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    write_part10(tmp_path / "file", ct_series(Identity("hostile"), Grid(slices=1))[0], DeflatedExplicitVRLittleEndian)
    content = (tmp_path / "file").read_bytes()
    start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
    (tmp_path / "file").write_bytes(content[:start] + deflate(*[bytes(1 << 20)] * 100))
    tracemalloc.start()
    instance, findings = read_instance(tmp_path / "file", SMALL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert instance is None
    assert [each.code for each in findings] == ["LIMIT_EXCEEDED"]
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("../out", tarfile.REGTYPE, id="parent"),
        pytest.param("/monai-dis-out", tarfile.REGTYPE, id="absolute"),
        pytest.param("a/link", tarfile.SYMTYPE, id="link"),
        pytest.param("a/device", tarfile.CHRTYPE, id="device"),
    ],
)
def test_a_tar_that_reaches_out_is_refused(name: str, kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "../../outside"
        archive.addfile(member, io.BytesIO(b""))
    with inspect(tmp_path / "in.tar.gz", Target()) as found:
        assert "ARCHIVE_UNSAFE" in [each.code for each in found.findings]
    assert [path.name for path in tmp_path.iterdir()] == ["in.tar.gz"]


def test_a_tar_is_read_like_a_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as archive:
        for index, data in enumerate(ct_series(Identity("tar"))):
            write_part10(tmp_path / "slice", data)
            archive.add(tmp_path / "slice", f"CANARY/{index}")
    with inspect(tmp_path / "in.tar.gz", Target(("CT",))) as found:
        assert [each.code for each in found.findings] == ["INPUT_ARCHIVE"]
        assert found.volumes[0].shape == (40, 32, 24)
        volume = found.volumes[0]
        assert isinstance(volume, VolumePlan)
        assert "CANARY" not in str(volume.frames[0].instance.path)
        inside = volume.frames[0].instance.path.parent
        assert inside.stat().st_mode & 0o777 == 0o700
    assert not inside.exists()


def test_an_archive_is_no_way_around_the_number_of_files(tmp_path: Path) -> None:
    write_zip(tmp_path / "in.zip", [(f"{index}", b"x") for index in range(200)])
    with inspect(tmp_path / "in.zip", Target(), limits=SMALL) as found:
        assert "LIMIT_EXCEEDED" in [each.code for each in found.findings]
