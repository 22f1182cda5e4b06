"""Compressed pixels: each decoder against another one, or against the values that were compressed (I15)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dicom_cases_values
import numpy as np
import pydicom
import pytest
from dicom_case import CASES, CaseWriter
from dicom_files import write_part10
from dicom_objects import Identity, ct_series, photograph, set_pixels
from dicom_phantom import Grid, phantom

from monai_dis.checks.limits import Limits
from monai_dis.dicom.codecs import Decoder, decoder_of
from monai_dis.dicom.decoding import decoded_frames
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.instance import open_data_set, read_instance
from monai_dis.dicom.photographs import read_photograph
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan

REGISTERED = dicom_cases_values  # importing a module of cases registers them
LOSSLESS, LOSSLESS_SV1, TWELVE_BITS = (f"1.2.840.10008.1.2.4.{number}" for number in (57, 70, 51))
needs_dcmtk = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK")


def decoded(path: Path) -> np.ndarray:
    instance, findings = read_instance(path, Limits())
    assert instance is not None, findings
    return np.asarray(next(decoded_frames(open_data_set(instance, Limits()), instance.syntax, [0])))


def compressed(folder: Path, option: str, *, signed: bool) -> tuple[Path, np.ndarray]:
    """A slice that DCMTK compressed, and its values."""
    plane = phantom(Grid())[5].astype(int) + (0 if signed else 1024)
    data = ct_series(Identity("codec"))[5]
    set_pixels(data, plane, 16 if signed and option != "+ee" else 12, signed)
    write_part10(folder / "plain", data)
    subprocess.run(["dcmcjpeg", option, folder / "plain", folder / "packed"], check=True)
    return folder / "packed", plane


@needs_dcmtk
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("option", "syntax"), [("+e1", LOSSLESS_SV1), ("+el", LOSSLESS)])
def test_jpeg_lossless_is_exact(
    option: str, syntax: str, signed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, plane = compressed(tmp_path, option, signed=signed)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    capfd.readouterr()
    assert np.array_equal(decoded(path), plane)
    assert capfd.readouterr().err == ""


@needs_dcmtk
def test_twelve_bit_jpeg_is_what_dcmtk_decodes(tmp_path: Path) -> None:
    path, plane = compressed(tmp_path, "+ee", signed=False)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == TWELVE_BITS
    subprocess.run(["dcmdjpeg", path, tmp_path / "again"], check=True)
    theirs = pydicom.dcmread(tmp_path / "again").pixel_array.astype(int)
    assert np.abs(decoded(path).astype(int) - theirs).max() <= 1
    assert np.abs(theirs - plane).max() > 1  # it is lossy, so that equality with the source would say nothing


@pytest.mark.parametrize("name", ["I15e-jpeg-lossless-sv1", "I15f-jpeg-ls", "I15g-jpeg-2000", "I15h-htj2k"])
def test_every_decoder_agrees_with_that_of_itk(name: str, tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    case = next(each for each in CASES if each.name == name)
    writer = CaseWriter(name, tmp_path)
    writer.folder.mkdir()
    case.build(writer)
    path = sorted(writer.folder.iterdir())[0]
    data = pydicom.dcmread(path)
    theirs = itk.array_from_image(itk.imread(str(path)))[0]
    values = decoded(path) * float(data.RescaleSlope) + float(data.RescaleIntercept)
    assert np.array_equal(values, theirs)


@needs_dcmtk
def test_a_series_of_jpeg_lossless_is_read(tmp_path: Path) -> None:
    grid = Grid()
    for index, data in enumerate(ct_series(Identity("codec"))):
        write_part10(tmp_path / "plain", data)
        packed = tmp_path / "in" / f"{index:03d}"
        packed.parent.mkdir(exist_ok=True)
        subprocess.run(["dcmcjpeg", "+e1", tmp_path / "plain", packed], check=True)
    with inspect(tmp_path / "in", Target(("CT",))) as found:
        assert not found.findings
        assert isinstance(found.volumes[0], VolumePlan)
        assert np.array_equal(read_volume(found.volumes[0]), phantom(grid).T)


@needs_dcmtk
def test_a_photograph_of_jpeg_lossless_is_read(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 32, 3), np.uint8)
    eye = Identity("photograph", modality="OP", body_part="RETINA")
    write_part10(tmp_path / "plain", photograph(eye, "1.2.840.10008.5.1.4.1.1.77.1.5.1", colours))
    (tmp_path / "in").mkdir()
    subprocess.run(["dcmcjpeg", "+e1", tmp_path / "plain", tmp_path / "in" / "packed"], check=True)
    with inspect(tmp_path / "in", Target(("OP",), spatial_dims=2, colour=True)) as found:
        assert isinstance(found.volumes[0], VolumePlan), found.findings
        assert np.array_equal(read_photograph(found.volumes[0])[..., 0].transpose(2, 1, 0), colours)


@pytest.mark.parametrize(
    ("syntax", "bits", "decoder"),
    [
        ("1.2.840.10008.1.2.1", 16, Decoder.PYDICOM),
        ("1.2.840.10008.1.2.5", 16, Decoder.PYDICOM),
        ("1.2.840.10008.1.2.4.50", 8, Decoder.PYDICOM),
        (TWELVE_BITS, 12, Decoder.GDCM),
        (LOSSLESS, 12, Decoder.GDCM),
        (LOSSLESS_SV1, 16, Decoder.GDCM),
        ("1.2.840.10008.1.2.4.201", 16, Decoder.OPENJPEG),
        ("1.2.840.10008.1.2.4.102", 8, None),
    ],
)
def test_who_decodes_what(syntax: str, bits: int, decoder: Decoder | None) -> None:
    assert decoder_of(syntax, bits) is decoder
