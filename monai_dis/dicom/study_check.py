"""What is in an input, study by study: what could be segmented, with which bundle, and why not; from headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.checks.findings import Finding, Policy, merged, verdict
from monai_dis.checks.limits import Limits
from monai_dis.dicom.inspection import Inspection, inspect_for
from monai_dis.dicom.studies import StudyFiles, find_studies
from monai_dis.dicom.target import Target

__all__ = ["StudyCheck", "check_studies", "report_of"]


@dataclass(frozen=True)
class StudyCheck:
    """What was found of one study.

    Attributes:
        study: which it is.
        found: for the target that was asked for.
        bundles: for the target of each bundle, by its name; None for a bundle that is not for DICOM.
    """

    study: StudyFiles
    found: Inspection
    bundles: Mapping[str, Inspection | None] = field(default_factory=dict)

    def why_not(self, bundle: str) -> tuple[Finding, ...] | None:
        """What keeps a bundle from segmenting the study; empty when nothing does, None when the bundle is not for DICOM."""
        inspection = self.bundles[bundle]
        if inspection is None:
            return None
        return tuple(each for each in inspection.findings if each.policy is Policy.REJECT)

    def to_dict(self) -> dict[str, Any]:
        """The check in plain JSON types."""
        report = self.found.to_dict()
        if self.bundles:
            report["bundles"] = {
                name: {
                    "verdict": None if inspection is None else inspection.verdict.value,
                    "why_not": [each.to_dict() for each in self.why_not(name) or ()],
                }
                for name, inspection in self.bundles.items()
            }
        return report


def check_studies(
    source: Path,
    wanted: Target,
    bundles: Mapping[str, Target | None],
    *,
    limits: Limits | None = None,
    policies: Mapping[str, Policy] | None = None,
    selection: Mapping[str, str] | None = None,
) -> Iterator[StudyCheck]:
    """Check each study of an input; one that is rejected does not hide the others.

    Args:
        source: file, archive or folder, of one study or a tree of several.
        wanted: what it is meant for.
        bundles: targets of further bundles by name, None for those that are not for DICOM.
        limits: on sizes.
        policies: a site's changes.
        selection: values that choose one of several volumes or series.

    Raises:
        DicomError: when the input does not exist or pydicom is not installed.
    """
    targets = {name: target for name, target in bundles.items() if target is not None}
    source = source.expanduser()
    for study in find_studies(source, limits or Limits()):
        inputs = study.paths if study.place else source
        with inspect_for(
            inputs, [wanted, *targets.values()], limits=limits, policies=policies, selection=selection
        ) as found:
            by_name = dict(zip(targets, found[1:], strict=True))
        # A volume file says nothing of its modality, so that nothing can be said of bundles.
        fits = {name: by_name.get(name) for name in bundles} if found[0].series else {}
        yield StudyCheck(study, found[0], fits)


def report_of(checks: Sequence[StudyCheck]) -> dict[str, Any]:
    """The checks of an input in plain JSON types: that of its one study, or findings and volumes of all with the studies beside."""
    if len(checks) == 1:
        return checks[0].to_dict()
    findings = merged(each for check in checks for each in check.found.findings)
    return {
        "verdict": verdict(findings).value,
        "findings": [each.to_dict() for each in findings],
        "volumes": [volume.to_dict() for check in checks for volume in check.found.volumes],
        "studies": [
            {"study": check.study.place, "study_instance_uid": check.study.uid, **check.to_dict()} for check in checks
        ],
    }
