"""What can be wrong with an input: stable codes, what is done about each, and the sentence that a user reads.

A message quotes numbers and attribute keywords, never a person's data, a free-text value or a file path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from monai_dis.checks.codes import TABLE, Policy
from monai_dis.errors import DicomError
from monai_dis.printable import printable

__all__ = ["CODES", "Finding", "Policy", "apply_policy", "finding", "merged", "read_policy", "verdict"]


#: What is done about each code unless a site says otherwise.
CODES: Mapping[str, Policy] = {name: code.policy for name, code in TABLE.items()}

#: Codes that a site may turn from `REJECT` to `WARN`.
_RELAXABLE = frozenset(name for name, code in TABLE.items() if code.relaxable)


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
    return Finding(code, policy or own, printable(message), instances)


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
