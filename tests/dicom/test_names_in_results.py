"""Names go into the objects byte for byte, whatever their character set, declared rightly or not (I24, O8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_case import JAPANESE_NAME, LATIN1_NAME_BYTES, UTF8_NAME, CaseWriter
from dicom_cases_files import charset_iso2022, charset_undeclared, charset_utf8, charset_wrong
from dicom_cases_values import frame_of_reference_missing
from dicom_study import ENTRY, identity_of, open_plan

from monai_dis.checks.limits import Limits
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.sr import make_sr
from monai_dis.dicom.writing import write_object


def objects(build: Any, folder: Path) -> list[Path]:
    """SEG and SR of an input case, as files."""
    build(CaseWriter("case", folder))
    with open_plan(folder / "case") as plan:
        labels = np.zeros(plan.shape, np.uint8)
        labels[1, 2, 3] = 1
        source = read_first_header(plan, Limits())
        seg = make_seg(labels, plan, source, ENTRY, identity_of(plan))
        sr = make_sr(seg, {1: 0.01, 2: 0.0}, plan, source, ENTRY, identity_of(plan))
        for name, made in (("seg", seg), ("sr", sr)):
            write_object(made, folder / name)
    return [folder / "seg", folder / "sr"]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        pytest.param(charset_iso2022, JAPANESE_NAME.encode("iso2022_jp"), id="escapes"),
        pytest.param(charset_utf8, UTF8_NAME.encode(), id="utf-8"),
        pytest.param(charset_undeclared, LATIN1_NAME_BYTES, id="undeclared"),
        pytest.param(charset_wrong, LATIN1_NAME_BYTES, id="wrongly-declared"),
    ],
)
def test_names_are_copied_byte_for_byte(build: Any, name: bytes, tmp_path: Path) -> None:
    for path in objects(build, tmp_path):
        written = next((tmp_path / "case").iterdir()).read_bytes()
        start = written.index(b"\x10\x00\x10\x00PN")
        length = int.from_bytes(written[start + 6 : start + 8], "little")
        assert written[start : start + 8 + length] in path.read_bytes()
        assert name.split(b"^")[0][:8] in written


def test_a_missing_frame_of_reference_is_derived_and_the_same_each_time(tmp_path: Path) -> None:
    seg = pydicom.dcmread(objects(frame_of_reference_missing, tmp_path)[0])
    again = pydicom.dcmread(objects(frame_of_reference_missing, tmp_path)[0])
    assert seg.FrameOfReferenceUID.startswith("2.25.")
    assert seg.FrameOfReferenceUID == again.FrameOfReferenceUID
