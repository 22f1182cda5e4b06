"""Policies: what a site may change, and what the strictest finding decides."""

from __future__ import annotations

import subprocess
import sys

import pytest

from monai_dis.checks.findings import Finding, Policy, apply_policy, finding, merged, read_policy, verdict
from monai_dis.errors import DicomError


def test_the_strictest_finding_decides() -> None:
    assert verdict([]) is Policy.ACCEPT
    assert verdict([finding("GANTRY_TILT", "."), finding("LOSSY_COMPRESSION", ".")]) is Policy.WARN
    assert verdict([finding("GANTRY_TILT", "."), finding("SLICE_GAP", ".")]) is Policy.REJECT


def test_equal_findings_are_counted_together() -> None:
    joined = merged([finding("PIXEL_BITS", "a"), finding("SLICE_GAP", "b", 3), finding("PIXEL_BITS", "a", 4)])
    assert [(each.code, each.instances) for each in joined] == [("SLICE_GAP", 3), ("PIXEL_BITS", 5)]


@pytest.mark.parametrize("code", ["PATIENT_MIXED", "STUDY_MIXED", "LIMIT_EXCEEDED", "ARCHIVE_UNSAFE", "SLICE_CONFLICT"])
def test_some_codes_are_never_relaxed(code: str) -> None:
    with pytest.raises(DicomError, match="cannot be relaxed"):
        read_policy({code: "warn"})
    with pytest.raises(DicomError, match="give fix, warn or reject"):
        read_policy({code: "ignore"})


def test_any_code_may_be_made_stricter() -> None:
    policies = read_policy({"GANTRY_TILT": "reject", "UID_MISSING": "warn", "ORIENTATION_MIXED": "reject"})
    scouts = Finding("ORIENTATION_MIXED", Policy.FIX, ".")
    changed = apply_policy([finding("GANTRY_TILT", "."), finding("UID_MISSING", "."), scouts], policies)
    assert [each.policy for each in changed] == [Policy.REJECT, Policy.WARN, Policy.REJECT]


@pytest.mark.parametrize(
    "code", ["import monai_dis.cli.app", "import monai_dis, monai_dis.bundle, monai_dis.dicom.sources"]
)
def test_dicom_libraries_are_imported_when_they_are_used(code: str) -> None:
    check = f"{code}; import sys; sys.exit(any(name in sys.modules for name in ('pydicom', 'highdicom', 'torch')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_missing_extra_is_named() -> None:
    blocked = "import sys; sys.modules['pydicom'] = None\nfrom monai_dis.cli import main\nmain(['dicom', 'check', '.'])"
    ran = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert 'pip install "monai-dis[dicom]"' in " ".join(ran.stderr.split())
