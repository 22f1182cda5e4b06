"""Inspect an input: which series there are, what is wrong with them, and the volume that a segmentation would receive.

Only headers are read. All findings come at once; one bad file hides none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.checks.findings import Finding, Policy, apply_policy, finding, merged, verdict
from monai_dis.checks.limits import Limits
from monai_dis.checks.size import check_extent
from monai_dis.checks.volume_files import FileVolume, inspect_volume_file
from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.dicom.damage import assign_damage
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.image_checks import is_image
from monai_dis.dicom.instance import DIRECTORY_CLASS, Damaged, Instance, read_file
from monai_dis.dicom.selection import of_series
from monai_dis.dicom.series import Series, check_series
from monai_dis.dicom.series_choice import choose_series, nothing_selected
from monai_dis.dicom.sources import InputFiles, open_input
from monai_dis.dicom.target import Target
from monai_dis.dicom.values import text
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

__all__ = ["Inspection", "inspect", "inspect_for"]


@dataclass(frozen=True)
class Inspection:
    """What there is in an input.

    Attributes:
        findings: about the input and the series that is used, the strictest first.
        series: all series with images.
        volumes: what a segmentation would receive; none when the verdict is to reject.
    """

    findings: tuple[Finding, ...]
    series: tuple[Series, ...]
    volumes: tuple[VolumePlan | FileVolume, ...] = field(repr=False)

    @property
    def verdict(self) -> Policy:
        """The strictest policy of the findings."""
        return verdict(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The inspection in plain JSON types."""
        return {
            "verdict": self.verdict.value,
            "findings": [each.to_dict() for each in self.findings],
            "volumes": [volume.to_dict() for volume in self.volumes],
            "series": [each.to_dict() for each in self.series],
        }

    def raise_if_rejected(self) -> None:
        """Raise when the input is not to be segmented.

        Raises:
            DicomError: with the code and message of each finding that rejects it.
        """
        if self.verdict is Policy.REJECT:
            sentences = "; ".join(
                f"{each.code}: {each.message}" for each in self.findings if each.policy is Policy.REJECT
            )
            raise DicomError(f"the DICOM input is rejected: {sentences}")


@contextmanager
def inspect(
    inputs: str | Path | Sequence[str | Path],
    target: Target,
    *,
    limits: Limits | None = None,
    policies: Mapping[str, Policy] | None = None,
    selection: Mapping[str, str] | None = None,
) -> Iterator[Inspection]:
    """Inspect an input; while the block runs, the files of its volumes can be read.

    Args:
        inputs: folder, file, DICOMDIR, ZIP or tar archive, or several of them; or one NIfTI, NRRD or MetaImage file.
        target: what it is meant for.
        limits: on sizes.
        policies: a site's changes, see `monai_dis.checks.findings.read_policy`.
        selection: values that choose one of several volumes or series, such as ``{"EchoTime": "80"}``.

    Raises:
        DicomError: when the input does not exist or pydicom is not installed.
    """
    with inspect_for(inputs, (target,), limits=limits, policies=policies, selection=selection) as found:
        yield found[0]


@contextmanager
def inspect_for(
    inputs: str | Path | Sequence[str | Path],
    targets: Sequence[Target],
    *,
    limits: Limits | None = None,
    policies: Mapping[str, Policy] | None = None,
    selection: Mapping[str, str] | None = None,
) -> Iterator[tuple[Inspection, ...]]:
    """Inspect an input for several targets at once: its files are read a single time. See `inspect`."""
    limits, policies = limits or Limits(), policies or {}
    if isinstance(inputs, (str, Path)) and image_suffix(inputs) in VOLUME_SUFFIXES and Path(inputs).is_file():
        yield tuple(_inspected_file(Path(inputs), target, limits, policies) for target in targets)
        return
    require("pydicom")
    with open_input(inputs, limits) as files:
        # Once for all values of all headers: to silence a library takes longer than to read a value.
        with discreet():
            contents = _read_all(files, limits)
            inspections = tuple(_inspected(contents, target, limits, policies, selection or {}) for target in targets)
        yield inspections


def _inspected_file(path: Path, target: Target, limits: Limits, policies: Mapping[str, Policy]) -> Inspection:
    volume, found = inspect_volume_file(path, limits)
    small = [] if volume is None else check_extent(volume.shape, volume.affine_lps, target.smallest_mm)
    found = list(merged(apply_policy([*found, *small], policies)))
    usable = volume is not None and verdict(found) is not Policy.REJECT
    return Inspection(tuple(found), (), (volume,) if usable and volume else ())


@dataclass(frozen=True)
class _Contents:
    """All that was read of an input."""

    instances: Sequence[Instance]
    damaged: Sequence[Damaged]
    findings: Sequence[Finding]
    names: Mapping[Path, str]


def _read_all(files: InputFiles, limits: Limits) -> _Contents:
    findings = list(files.findings)
    instances: list[Instance] = []
    damaged: list[Damaged] = []
    for path in files.paths:
        read, own = read_file(path, limits)
        findings.extend(own)
        if isinstance(read, Damaged):
            damaged.append(read)
        elif read.sop_class != DIRECTORY_CLASS:
            instances.append(read)
    return _Contents(instances, damaged, findings, files.names)


def _inspected(
    contents: _Contents,
    target: Target,
    limits: Limits,
    policies: Mapping[str, Policy],
    selection: Mapping[str, str],
) -> Inspection:
    instances, findings = contents.instances, list(contents.findings)
    findings.extend(_check_people(instances))
    images = [instance for instance in instances if is_image(instance)]
    if len(images) < len(instances):
        message = "objects that are no images are left out, by SOP class."
        findings.append(finding("OBJECT_SKIPPED", message, len(instances) - len(images)))
    chosen_by_user = bool(of_series(selection))
    damage = assign_damage(contents.damaged, images, contents.names, policies, chosen=chosen_by_user)
    findings.extend(damage.others)
    series = [
        check_series(number, members, target, limits, policies, selection, damage.of_series.get(uid, ()))
        for number, (uid, members) in enumerate(_by_series(images).items(), start=1)
    ]
    every = series
    if chosen_by_user:
        series = [each for each in series if each.selected]
    chosen, own = choose_series(series, target)
    findings.extend(own)
    if every and not series:
        findings.append(nothing_selected(every, of_series(selection)))
    elif not series and not any(each.policy is Policy.REJECT for each in findings):
        findings.append(finding("INPUT_EMPTY", "there is no DICOM image in the input; check the path."))
    of_chosen = chosen.findings if chosen else [each for found in damage.of_series.values() for each in found]
    everything = merged([*apply_policy(findings, policies), *of_chosen])
    usable = chosen is not None and chosen.volume is not None and verdict(everything) is not Policy.REJECT
    return Inspection(everything, tuple(series), (chosen.volume,) if usable and chosen and chosen.volume else ())


def _check_people(instances: Sequence[Instance]) -> list[Finding]:
    """Patients and studies are counted, never named (I12)."""
    patients = {(text(each.header, "PatientID"), text(each.header, "IssuerOfPatientID")) for each in instances}
    studies = {text(each.header, "StudyInstanceUID") for each in instances}
    findings = []
    if len(patients) > 1:
        message = f"the input holds images of {len(patients)} patients; give them one by one."
        findings.append(finding("PATIENT_MIXED", message, len(instances)))
    if len(studies) > 1:
        message = f"the input holds {len(studies)} studies; give them one by one."
        findings.append(finding("STUDY_MIXED", message, len(instances)))
    return findings


def _by_series(images: Sequence[Instance]) -> dict[str, list[Instance]]:
    groups: dict[str, list[Instance]] = {}
    for image in images:
        groups.setdefault(text(image.header, "SeriesInstanceUID"), []).append(image)
    # Not by file name: the order must be that of the study, wherever its files lie.
    return {uid: sorted(groups[uid], key=lambda each: each.uid) for uid in sorted(groups)}
