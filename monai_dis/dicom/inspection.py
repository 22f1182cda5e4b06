"""Inspect an input: which series there are, what is wrong with them, and the volume that a segmentation would receive.

Only headers are read. All findings come at once; one bad file hides none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.dicom.extra import require
from monai_dis.dicom.findings import Finding, Policy, apply_policy, finding, merged, verdict
from monai_dis.dicom.frames import Frame, frames_of, is_multiframe
from monai_dis.dicom.geometry import Vector, affine_of, angle_degrees, normal_of, stack_of
from monai_dis.dicom.image_checks import (
    check_image,
    check_values_of_series,
    is_image,
    is_secondary_capture,
    stored_bytes,
)
from monai_dis.dicom.instance import DIRECTORY_CLASS, Instance, read_instance
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.sources import open_input
from monai_dis.dicom.stack_checks import check_stack, one_stack, one_volume, selected
from monai_dis.dicom.target import Target
from monai_dis.dicom.values import AttributeProblem, integer, text, texts
from monai_dis.dicom.volume_files import FileVolume, inspect_volume_file
from monai_dis.errors import DicomError

__all__ = ["Inspection", "Series", "VolumePlan", "inspect"]

_ROUND = 9
_TRUNCATED = 8


@dataclass(frozen=True)
class VolumePlan:
    """A volume that can be read: its planes in order, and where they lie.

    Attributes:
        frames: in order along the normal.
        affine_lps: (4, 4) from (column, row, slice) to patient coordinates in mm; sheared for a tilted stack.
    """

    frames: tuple[Frame, ...] = field(repr=False)
    affine_lps: Vector

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        header = self.frames[0].instance.header
        return integer(header, "Columns") or 0, integer(header, "Rows") or 0, len(self.frames)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The files, each once, in the order of their planes."""
        return tuple({frame.instance.uid: frame.instance for frame in self.frames}.values())

    @property
    def modality(self) -> str:
        """Value of Modality."""
        return text(self.frames[0].instance.header, "Modality")

    @property
    def sheared(self) -> bool:
        """Whether slices are not stacked along their normal."""
        return len(self.frames) > 1 and angle_degrees(self.affine_lps[:3, 2], normal_of(self.frames[0])) > 0.1

    def to_dict(self) -> dict[str, Any]:
        """Size and place in plain JSON types."""
        affine = np.round(self.affine_lps, _ROUND) + 0.0
        return {"shape_columns_rows_slices": list(self.shape), "affine_lps_mm": affine.tolist()}


@dataclass(frozen=True)
class Series:
    """One series of an input.

    Attributes:
        number: Series Number as the header has it, or a count from 1 where it is no number.
        modality: value of Modality.
        images: number of image files.
        spacing_mm: between columns, rows, slices; None when there is no volume.
        findings: what is wrong with it.
        volume: what can be read; None when it is rejected.
    """

    number: int
    modality: str
    images: int
    spacing_mm: tuple[float, ...] | None
    findings: tuple[Finding, ...]
    volume: VolumePlan | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Policy:
        """The strictest policy of its findings."""
        return verdict(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The series in plain JSON types."""
        return {
            "number": self.number,
            "modality": self.modality,
            "images": self.images,
            "spacing_mm": None if self.spacing_mm is None else [round(value, 6) for value in self.spacing_mm],
            "verdict": self.verdict.value,
            "findings": [each.to_dict() for each in self.findings],
        }


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
        policies: a site's changes, see `monai_dis.dicom.findings.read_policy`.
        selection: values that choose one of several volumes or series, such as ``{"EchoTime": "80"}``.

    Raises:
        DicomError: when the input does not exist or pydicom is not installed.
    """
    limits, policies = limits or Limits(), policies or {}
    if isinstance(inputs, (str, Path)) and image_suffix(inputs) in VOLUME_SUFFIXES and Path(inputs).is_file():
        file_volume, found = inspect_volume_file(Path(inputs), limits)
        found = list(merged(apply_policy(found, policies)))
        usable = file_volume is not None and verdict(found) is not Policy.REJECT
        yield Inspection(tuple(found), (), (file_volume,) if usable and file_volume else ())
        return
    require("pydicom")
    with open_input(inputs, limits) as files:
        findings = list(files.findings)
        instances: list[Instance] = []
        for path in files.paths:
            instance, own = read_instance(path, limits)
            findings.extend(own)
            if instance is not None and instance.sop_class != DIRECTORY_CLASS:
                instances.append(instance)
        findings.extend(_check_people(instances))
        images = [instance for instance in instances if is_image(instance)]
        wanted = (selection or {}).get("SeriesNumber")
        if len(images) < len(instances):
            message = "objects that are no images are left out, by SOP class."
            findings.append(finding("OBJECT_SKIPPED", message, len(instances) - len(images)))
        series = [
            _check_series(number, members, target, limits, policies, selection or {})
            for number, members in enumerate(_by_series(images), start=1)
        ]
        if wanted is not None:
            series = [each for each in series if str(each.number) == wanted]
        chosen, own = _choose(series, target)
        findings.extend(own)
        if not series and not any(each.policy is Policy.REJECT for each in findings):
            findings.append(finding("INPUT_EMPTY", "there is no DICOM image in the input; check the path."))
        everything = merged([*apply_policy(findings, policies), *(chosen.findings if chosen else ())])
        usable = chosen is not None and chosen.volume is not None and verdict(everything) is not Policy.REJECT
        yield Inspection(everything, tuple(series), (chosen.volume,) if usable and chosen and chosen.volume else ())


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


def _by_series(images: Sequence[Instance]) -> list[list[Instance]]:
    groups: dict[str, list[Instance]] = {}
    for image in images:
        groups.setdefault(text(image.header, "SeriesInstanceUID"), []).append(image)
    # Not by file name: the order must be that of the study, wherever its files lie.
    return [sorted(groups[uid], key=lambda each: each.uid) for uid in sorted(groups)]


def _choose(series: Sequence[Series], target: Target) -> tuple[Series | None, list[Finding]]:
    """The series that fits the target, if there is one and only one (I11)."""
    if len(series) < 2:
        return (series[0] if series else None), []
    fitting = [each for each in series if _may_be_meant(each, target)]
    if not fitting:
        worst = max(series, key=lambda each: each.verdict.strictness)
        return worst, []
    if len(fitting) > 1:
        table = "; ".join(_row(each) for each in fitting[:_TRUNCATED])
        message = f"{len(fitting)} of {len(series)} series fit ({table}); choose one with --select SeriesNumber=N."
        return None, [finding("SERIES_AMBIGUOUS", message, len(fitting))]
    message = f"one of {len(series)} series fits and is used ({_row(fitting[0])})."
    return fitting[0], [finding("SERIES_SELECTED", message, fitting[0].images)]


def _may_be_meant(series: Series, target: Target) -> bool:
    """Scouts, captures, colour and other modalities are not what was meant; a damaged stack may be."""
    others = {"MODALITY_MISMATCH", "IMAGE_NOT_GRAYSCALE", "SECONDARY_CAPTURE", "SINGLE_SLICE"}
    rejected = {each.code for each in series.findings if each.policy is Policy.REJECT}
    return target.takes(series.modality) and not rejected & others


def _row(series: Series) -> str:
    spacing = "" if series.spacing_mm is None else " x ".join(f"{value:.3g}" for value in series.spacing_mm) + " mm"
    return f"number {series.number}, {series.modality}, {series.images} images{', ' + spacing if spacing else ''}"


def _check_series(
    count: int,
    images: Sequence[Instance],
    target: Target,
    limits: Limits,
    policies: Mapping[str, Policy],
    selection: Mapping[str, str],
) -> Series:
    first = images[0].header
    findings = [each for image in images for each in check_image(image, limits)]
    findings.extend(_check_fit(images, target))
    volume = None
    flat = {"IMAGE_NOT_GRAYSCALE", "SECONDARY_CAPTURE"} & {each.code for each in findings}
    if not flat:
        frames, own = _frames(images)
        findings.extend(own)
        if frames and not own:
            frames, own = _single_volume(frames, selection)
            findings.extend(own)
            if frames:
                findings.extend(check_stack(frames, spatial_dims=target.spatial_dims))
                findings.extend(_check_size(frames, limits))
                volume = _plan(frames)
    after = merged(apply_policy(findings, policies))
    try:
        number = integer(first, "SeriesNumber")
    except AttributeProblem:
        number = None
    return Series(
        number=count if number is None else number,
        modality=_modality(images),
        images=len(images),
        spacing_mm=None if volume is None else tuple(np.linalg.norm(volume.affine_lps[:3, :3], axis=0).tolist()),
        findings=after,
        volume=None if verdict(after) is Policy.REJECT else volume,
    )


def _modality(images: Sequence[Instance]) -> str:
    """Modality as a defined term; what is none is not shown, for it may be anything."""
    found = text(images[0].header, "Modality")
    return found if found.isalnum() and len(found) <= 16 and found.isupper() else "?"


def _check_fit(images: Sequence[Instance], target: Target) -> list[Finding]:
    """Modality, body part, frame of reference and UIDs of a series (I16, I17)."""
    findings = []
    modality = _modality(images)
    if not target.takes(modality):
        wanted = " or ".join(target.modalities)
        findings.append(
            finding("MODALITY_MISMATCH", f"the images are {modality}, the bundle takes {wanted}.", len(images))
        )
    parts = {text(image.header, "BodyPartExamined").upper() for image in images} - {""}
    if target.body_parts and parts and not parts <= set(target.body_parts):
        message = f"BodyPartExamined is none of those the bundle was made for ({', '.join(target.body_parts)})."
        findings.append(finding("BODY_PART_MISMATCH", message, len(images)))
    references = {text(image.header, "FrameOfReferenceUID") for image in images if not _is_scout(image)}
    if references == {""}:
        message = "FrameOfReferenceUID is missing; one is derived from the series."
        findings.append(finding("FRAME_OF_REFERENCE_MISSING", message, len(images)))
    elif len(references) > 1:
        message = f"the series has {len(references)} frames of reference; positions cannot be compared."
        findings.append(finding("FRAME_OF_REFERENCE_MIXED", message, len(images)))
    header_uids = [text(image.header, name) for image in images for name in ("StudyInstanceUID", "SeriesInstanceUID")]
    missing = sum(not uid for uid in [*header_uids, *(image.uid for image in images)])
    if missing:
        message = "StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID is missing; get the original images."
        findings.append(finding("UID_MISSING", message, missing))
    return findings


def _is_scout(image: Instance) -> bool:
    return "LOCALIZER" in texts(image.header, "ImageType") or is_secondary_capture(image)


def _frames(images: Sequence[Instance]) -> tuple[list[Frame], list[Finding]]:
    frames: list[Frame] = []
    findings: list[Finding] = []
    for image in images:
        try:
            frames.extend(frames_of(image))
        except AttributeProblem as problem:
            how = "missing or empty" if problem.code == "ATTRIBUTE_MISSING" else "impossible"
            findings.append(finding(problem.code, f"{problem.keyword} is {how}; get the original images."))
    return frames, findings


def _single_volume(frames: list[Frame], selection: Mapping[str, str]) -> tuple[list[Frame], list[Finding]]:
    findings: list[Finding] = []
    multi = {frame.instance.uid for frame in frames if is_multiframe(frame.instance)}
    if multi:
        message = "geometry and rescale come from the functional groups of a multi-frame object."
        findings.append(finding("MULTIFRAME", message, len(frames)))
    rest = {keyword: value for keyword, value in selection.items() if keyword != "SeriesNumber"}
    if rest:
        chosen = selected(frames, rest)
        if not chosen:
            message = f"no image has {', '.join(sorted(rest))} as selected; look at the values with `dicom check`."
            return [], [*findings, finding("VOLUME_MULTIPLE", message, len(frames))]
        if len(chosen) < len(frames):
            message = f"{len(chosen)} of {len(frames)} slices are selected by {', '.join(sorted(rest))}."
            findings.append(finding("VOLUME_MULTIPLE", message, len(chosen), Policy.FIX))
        frames = chosen
    stack, own = one_stack(frames)
    findings.extend(own)
    if not stack:
        return [], findings
    volume, own = one_volume(stack)
    findings.extend(own)
    if volume:
        instances = list({frame.instance.uid: frame.instance for frame in volume}.values())
        findings.extend(check_values_of_series(instances, [(frame.slope, frame.intercept) for frame in volume]))
    return volume, findings


def _check_size(frames: Sequence[Frame], limits: Limits) -> list[Finding]:
    try:
        each = {frame.instance.uid: stored_bytes(frame.instance) for frame in frames}
    except AttributeProblem:
        return []  # already among the findings
    total = sum(each.values())
    if total > limits.volume_bytes:
        message = f"the volume has {total} bytes when decoded, more than the limit of {limits.volume_bytes}."
        return [finding("LIMIT_EXCEEDED", message, len(frames))]
    if total > limits.large_bytes:
        message = f"the volume has {len(frames)} slices and {total / 1e6:.0f} MB when decoded."
        return [finding("SERIES_LARGE", message, len(frames))]
    return []


def _plan(frames: Sequence[Frame]) -> VolumePlan:
    ordered = stack_of(frames).frames
    return VolumePlan(ordered, affine_of(ordered))
