"""What can be wrong with an input: stable codes, what is done about each, and the sentence that a user reads.

A message quotes numbers and attribute keywords, never a person's data, a free-text value or a file path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from monai_dis.errors import DicomError

__all__ = ["CODES", "Finding", "Policy", "apply_policy", "finding", "merged", "read_policy", "verdict"]


class Policy(str, Enum):
    """What is done about a finding, from the mildest to the strictest.

    Attributes:
        ACCEPT: there is nothing to report; the verdict on an input without findings.
        FIX: handled exactly, without a guess; the finding is information.
        WARN: the result is written and the finding stands in the report.
        REJECT: no result is written.
    """

    ACCEPT = "accept"
    FIX = "fix"
    WARN = "warn"
    REJECT = "reject"

    @property
    def strictness(self) -> int:
        """0 for `ACCEPT` to 3 for `REJECT`."""
        return list(Policy).index(self)


_FIX = """
AFFINE_SHEARED AXIS_REVERSED FILE_NO_HEADER GANTRY_TILT INPUT_ARCHIVE INPUT_DICOMDIR MULTIFRAME OBJECT_SKIPPED
ORIENTATION_OBLIQUE PIXEL_BITS PIXEL_NON_SQUARE PIXEL_PADDING RESCALE_PER_SLICE SCALING_APPLIED SERIES_SELECTED SLICE_DUPLICATE
SLICE_ORDER SPACE_CONVERTED UNITS_NOT_MM
"""
_WARN = """
BODY_PART_MISMATCH BURNED_IN_ANNOTATION CHARSET_INVALID FILE_NOT_DICOM FRAME_OF_REFERENCE_MISSING GANTRY_TILT_INCONSISTENT
LOSSY_COMPRESSION OBJECT_DAMAGED PHOTOMETRIC_MONOCHROME1 PICTURE_TURNED PREAMBLE_SUSPICIOUS SERIES_LARGE
"""
_REJECT = """
AFFINE_CONFLICT AFFINE_MISSING AFFINE_SINGULAR ARCHIVE_UNSAFE ATTRIBUTE_INVALID ATTRIBUTE_MISSING DECODER_MISSING FILE_CORRUPT
FILE_TRUNCATED FRAME_OF_REFERENCE_MIXED IMAGE_NOT_GRAYSCALE INPUT_EMPTY LIMIT_EXCEEDED MODALITY_MISMATCH MOSAIC ORIENTATION_MIXED
PATIENT_MIXED PHOTOMETRIC_MIXED SCALING_INVALID SECONDARY_CAPTURE SELECTION_EMPTY SERIES_AMBIGUOUS SERIES_INCOMPLETE SINGLE_SLICE
SLICE_CONFLICT SLICE_GAP
SPACING_NON_UNIFORM STUDY_MIXED TRANSFER_SYNTAX_UNSUPPORTED UID_MISSING VALUES_COMPLEX VOLUME_MULTIPLE
"""

#: What is done about each code unless a site says otherwise.
CODES: Mapping[str, Policy] = {
    code: policy
    for policy, names in ((Policy.FIX, _FIX), (Policy.WARN, _WARN), (Policy.REJECT, _REJECT))
    for code in names.split()
}

#: Codes that a site may turn from `REJECT` to `WARN`: there is a defined way to go on.
_RELAXABLE = frozenset(
    {
        "FRAME_OF_REFERENCE_MIXED",
        "MODALITY_MISMATCH",
        "SECONDARY_CAPTURE",
        "SERIES_INCOMPLETE",
        "SLICE_GAP",
        "UID_MISSING",
    }
)


@dataclass(frozen=True)
class Finding:
    """One thing that was found in an input.

    Attributes:
        code: stable name, a key of `CODES`.
        policy: what is done about it.
        message: a sentence with what was measured and, for a rejection, what to do.
        instances: how many files, frames or slices it concerns.
    """

    code: str
    policy: Policy
    message: str
    instances: int = 1

    def to_dict(self) -> dict[str, str | int]:
        """The finding in plain JSON types."""
        return {
            "code": self.code,
            "policy": self.policy.value,
            "message": self.message,
            "instances": self.instances,
        }


def finding(code: str, message: str, instances: int = 1, policy: Policy | None = None) -> Finding:
    """Make a finding with its code's own policy.

    Raises:
        KeyError: when there is no such code.
    """
    own = CODES[code]
    return Finding(code, policy or own, message, instances)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Join findings of one code, policy and message, adding up their instances; the strictest come first."""
    counts: dict[Finding, int] = {}
    for each in findings:
        key = replace(each, instances=0)
        counts[key] = counts.get(key, 0) + each.instances
    joined = [replace(key, instances=count) for key, count in counts.items()]
    return tuple(sorted(joined, key=lambda each: -each.policy.strictness))


def verdict(findings: Iterable[Finding]) -> Policy:
    """The strictest policy among findings; `ACCEPT` when there are none."""
    return max((each.policy for each in findings), key=lambda policy: policy.strictness, default=Policy.ACCEPT)


def read_policy(changes: Mapping[str, str]) -> dict[str, Policy]:
    """Read a site's changes of policy: any code may be made stricter, some may be relaxed to a warning.

    Args:
        changes: policies by code, such as ``{"SLICE_GAP": "warn"}``.

    Raises:
        DicomError: when a code or policy is unknown, or the code cannot be relaxed.
    """
    policies: dict[str, Policy] = {}
    for code, name in changes.items():
        if code not in CODES:
            raise DicomError(f"there is no finding {code!r}; the codes are {', '.join(sorted(CODES))}.")
        if name not in (Policy.FIX.value, Policy.WARN.value, Policy.REJECT.value):
            raise DicomError(f"the policy for {code} is {name!r}; give fix, warn or reject.")
        policy = Policy(name)
        if policy.strictness < CODES[code].strictness and not (policy is Policy.WARN and code in _RELAXABLE):
            raise DicomError(
                f"{code} cannot be relaxed to {name}: only {', '.join(sorted(_RELAXABLE))} can be made a warning."
            )
        policies[code] = policy
    return policies


def apply_policy(findings: Iterable[Finding], policies: Mapping[str, Policy]) -> tuple[Finding, ...]:
    """Findings with a site's policies in place of the codes' own.

    A finding that is stricter than its code (stacks of several orientations, unlike skipped localizers) stays so.
    """
    return tuple(
        replace(each, policy=policies[each.code])
        if each.code in policies
        and (each.policy is CODES[each.code] or policies[each.code].strictness > each.policy.strictness)
        else each
        for each in findings
    )
