"""Photographs in colour: brought to RGB, segmented as their picture files are, answered by a SEG without a place in space (I18)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import call
from dicom_files import write_part10
from dicom_objects import (
    DERMOSCOPIC_PHOTOGRAPH,
    OPHTHALMIC_PHOTOGRAPH,
    Identity,
    ct_series,
    photograph,
    set_encapsulated,
)
from dicom_phantom import Grid
from dicom_study import SEGMENTS
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from small_bundle import disc

from monai_dis.checks.findings import Policy
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.photographs import read_photograph
from monai_dis.dicom.target import Target
from monai_dis.dicom.volume_plan import VolumePlan

EYE = Identity("photograph", modality="OP", body_part="RETINA", description="Fundus")
FUNDUS = Target(("OP",), ("RETINA",), spatial_dims=2, colour=True)


def colourful() -> np.ndarray:
    """(rows, columns, 3) with another ramp in each colour, so that a swap of colours or axes shows."""
    rows, columns = np.mgrid[:20, :32]
    return np.stack([rows * 10, columns * 6, 200 - rows * 4 - columns], axis=-1).astype(np.uint8)


def as_ybr(colours: np.ndarray) -> np.ndarray:
    """Full-range YCbCr by the equations of the standard (PS3.3 C.7.6.3.1.2)."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(colours @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def rgb(data: Dataset) -> str:
    return str(ExplicitVRLittleEndian)


def planes_apart(data: Dataset) -> str:
    data.PlanarConfiguration = 1
    data.PixelData = np.ascontiguousarray(colourful().transpose(2, 0, 1)).tobytes()
    return str(ExplicitVRLittleEndian)


def ybr_full(data: Dataset) -> str:
    data.PhotometricInterpretation = "YBR_FULL"
    data.PixelData = as_ybr(colourful()).tobytes()
    return str(ExplicitVRLittleEndian)


def ybr_full_422(data: Dataset) -> str:
    """Two pixels share their colour: Y1 Y2 Cb Cr."""
    data.PhotometricInterpretation = "YBR_FULL_422"
    ybr = as_ybr(colourful())
    pairs = [ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]]
    data.PixelData = np.stack(pairs, axis=-1).tobytes()
    return str(ExplicitVRLittleEndian)


def sixteen_bits(data: Dataset) -> str:
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = (colourful().astype("<u2") * 257).tobytes()
    data["PixelData"].VR = "OW"
    return str(ExplicitVRLittleEndian)


def palette(data: Dataset) -> str:
    colours, indices = np.unique(colourful().reshape(-1, 3) // 64 * 64, axis=0, return_inverse=True)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "PALETTE COLOR"
    del data.PlanarConfiguration
    data.PixelData = indices.astype(np.uint8).tobytes()
    for name, column in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [len(colours), 0, 16])
        setattr(data, f"{name}PaletteColorLookupTableData", (column.astype("<u2") * 257).tobytes())
    return str(ExplicitVRLittleEndian)


def jpeg(data: Dataset) -> str:
    data.PhotometricInterpretation = "YBR_FULL_422"
    packed = BytesIO()
    Image.fromarray(colourful()).save(packed, "JPEG", quality=100, subsampling=1)
    set_encapsulated(data, [packed.getvalue()])
    return str(JPEGBaseline8Bit)


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        pytest.param(rgb, 0.01, id="rgb"),
        pytest.param(planes_apart, 0.01, id="rgb-by-plane"),
        pytest.param(ybr_full, 2, id="ybr"),
        pytest.param(ybr_full_422, 8, id="ybr-of-pairs"),
        pytest.param(sixteen_bits, 0.01, id="rgb-of-16-bits"),
        pytest.param(palette, 0.01, id="palette"),
        pytest.param(jpeg, 8, id="jpeg"),
    ],
)
def test_every_form_of_colour_becomes_rgb(change: Callable[[Dataset], str], tolerance: float, tmp_path: Path) -> None:
    data = photograph(EYE, OPHTHALMIC_PHOTOGRAPH, colourful())
    write_part10(tmp_path / "photo", data, change(data))
    with inspect(tmp_path, FUNDUS) as found:
        assert found.volumes, found.findings
        plan = found.volumes[0]
        assert isinstance(plan, VolumePlan)
        assert plan.to_dict() == {"shape_columns_rows_slices": [32, 20, 1], "affine_lps_mm": None}
        values = read_photograph(plan)
    wanted = colourful() // 64 * 64 if change is palette else colourful()
    assert np.abs(values[..., 0].transpose(2, 1, 0) - wanted).max() <= tolerance


@pytest.fixture
def photo_bundle(tiny_bundle: Path) -> Path:
    """A bundle for photographs that calls bright pixels foreground."""
    file = tiny_bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    entry = {"modalities": ["OP", "DMS"], "spatial_dims": 2, "segments": {"1": SEGMENTS["2"]}}
    file.write_text(json.dumps({**metadata, "dicom": entry}))
    return tiny_bundle


@pytest.mark.parametrize("spacing", [None, [0.02, 0.02]], ids=["unknown-spacing", "calibrated"])
@pytest.mark.parametrize("sop_class", [OPHTHALMIC_PHOTOGRAPH, DERMOSCOPIC_PHOTOGRAPH])
def test_a_photograph_is_segmented_as_its_picture_is(
    sop_class: str, spacing: list[float] | None, photo_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    data = photograph(EYE, sop_class, disc())
    if spacing is not None:
        data.PixelSpacing = spacing
    write_part10(tmp_path / "in" / "photo", data)
    assert call("segment", photo, "-b", photo_bundle, "-o", tmp_path / "png") == 0
    assert call("segment", tmp_path / "in", "-b", photo_bundle, "-o", tmp_path / "out", "--uncertainty") == 0
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    seg = pydicom.dcmread(entry["output"])
    wanted = np.asarray(Image.open(next((tmp_path / "png").glob("*_seg.png")))) > 0
    assert wanted.any()
    assert np.array_equal(seg.pixel_array.reshape(wanted.shape) > 0, wanted)
    assert "FrameOfReferenceUID" not in seg
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == data.SOPInstanceUID
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert ("PixelMeasuresSequence" in shared) == (spacing is not None)
    assert "sr" not in entry
    assert "volume_ml" not in entry["segments"][0]
    assert entry["segments"][0]["voxels"] == np.count_nonzero(wanted)
    if (program := shutil.which("dciodvfy")) is not None:
        for key in ("output", "uncertainty"):
            said = subprocess.run([program, entry[key]], capture_output=True, check=False).stderr.decode("latin-1")
            assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_of_several_photographs_one_is_chosen(photo_bundle: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        data = photograph(EYE, OPHTHALMIC_PHOTOGRAPH, disc(), number)
        write_part10(tmp_path / "in" / str(number), data)
    with inspect(tmp_path / "in", FUNDUS) as found:
        assert [each.code for each in found.findings] == ["VOLUME_MULTIPLE"]
        assert "2 photographs (InstanceNumber 1, 2)" in found.findings[0].message
        assert not found.volumes
    command = ("segment", tmp_path / "in", "-b", photo_bundle, "-o", tmp_path / "out")
    assert call(*command) == 1
    assert call(*command, "--select", "InstanceNumber=2") == 0


def test_a_bundle_of_volumes_refuses_colour_and_one_of_photographs_fits(tmp_path: Path) -> None:
    write_part10(tmp_path / "in" / "photo", photograph(EYE, OPHTHALMIC_PHOTOGRAPH, disc()))
    with inspect(tmp_path / "in", Target(("OP",))) as found:
        assert [each.code for each in found.findings if each.policy is Policy.REJECT] == ["IMAGE_NOT_GRAYSCALE"]
    assert call("dicom", "check", tmp_path / "in", "--json", tmp_path / "check.json") == 0
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["bundles"]["fundus_vessels_dis"] == {"verdict": "accept", "why_not": []}
    assert [each["code"] for each in report["bundles"]["skin_lesion_dis"]["why_not"]] == ["MODALITY_MISMATCH"]


def test_grey_images_among_photographs_are_refused(tmp_path: Path) -> None:
    write_part10(tmp_path / "a", photograph(EYE, OPHTHALMIC_PHOTOGRAPH, disc()))
    grey = ct_series(EYE, Grid(slices=1))[0]
    write_part10(tmp_path / "b", grey)
    with inspect(tmp_path, FUNDUS) as found:
        assert "PHOTOMETRIC_MIXED" in [each.code for each in found.findings]


def test_label_files_need_a_place_in_space(
    photo_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_part10(tmp_path / "in" / "photo", photograph(EYE, OPHTHALMIC_PHOTOGRAPH, disc()))
    assert call("segment", tmp_path / "in", "-b", photo_bundle, "-o", tmp_path / "out", "--format", "nifti") == 1
    assert "choose --format seg" in capfd.readouterr().err
