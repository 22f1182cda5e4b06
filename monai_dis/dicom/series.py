"""One series: its images, what is wrong with them, and the volume they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monai_dis.checks.findings import Finding, Policy, apply_policy, finding, merged, verdict
from monai_dis.checks.limits import Limits
from monai_dis.checks.size import check_extent
from monai_dis.dicom.frames import Frame, frames_of, is_multiframe
from monai_dis.dicom.geometry import normal_of
from monai_dis.dicom.image_checks import check_image, check_values_of_series, is_secondary_capture, stored_bytes
from monai_dis.dicom.instance import Instance
from monai_dis.dicom.photographs import is_coloured, plan_photograph
from monai_dis.dicom.selection import of_planes, takes_series
from monai_dis.dicom.series_words import described, is_derived, is_scout, plane_of
from monai_dis.dicom.stack_checks import check_stack, one_stack, one_volume, selected
from monai_dis.dicom.target import Target
from monai_dis.dicom.values import AttributeProblem, integer, text, texts
from monai_dis.dicom.volume_plan import VolumePlan, plan_volume

__all__ = ["Series", "check_series"]


@dataclass(frozen=True)
class Series:
    """One series of an input.

    Attributes:
        number: Series Number as the header has it, or a count from 1 where it is no number.
        modality: value of Modality.
        images: number of image files.
        uid: Series Instance UID.
        description: of the series, without what may be a person's.
        plane: of the body, such as ``axial``; empty when it has several or none.
        slices: of the volume, missing ones included; None when there is none.
        scout: whether it is a localizer.
        derived: whether its images were computed from others.
        selected: whether the user's selection allows it.
        spacing_mm: between columns, rows, slices; None when there is no volume.
        findings: what is wrong with it.
        volume: what can be read; None when it is rejected.
    """

    number: int
    modality: str
    images: int
    spacing_mm: tuple[float, ...] | None
    findings: tuple[Finding, ...]
    uid: str = ""
    description: str = field(default="", repr=False)
    plane: str = ""
    slices: int | None = None
    scout: bool = False
    derived: bool = False
    selected: bool = True
    volume: VolumePlan | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Policy:
        """The strictest policy of its findings."""
        return verdict(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The series in plain JSON types."""
        return {
            "number": self.number,
            "uid": self.uid,
            "description": self.description,
            "modality": self.modality,
            "plane": self.plane,
            "images": self.images,
            "spacing_mm": None if self.spacing_mm is None else [round(value, 6) for value in self.spacing_mm],
            "verdict": self.verdict.value,
            "findings": [each.to_dict() for each in self.findings],
        }


def check_series(
    count: int,
    images: Sequence[Instance],
    target: Target,
    limits: Limits,
    policies: Mapping[str, Policy],
    selection: Mapping[str, str],
    damage: Sequence[Finding] = (),
) -> Series:
    """Check a series by its headers.

    Args:
        count: of the series in the input, from 1.
        images: of the series.
        target: what it is meant for.
        limits: on sizes.
        policies: a site's changes.
        selection: values that choose one of several volumes or series.
        damage: what is wrong with files of it that cannot be read.
    """
    findings = [each for image in images for each in check_image(image, limits, colour=target.colour)]
    findings.extend(damage)
    findings.extend(_check_fit(images, target))
    volume = None
    without_place = {
        "IMAGE_NOT_GRAYSCALE",
        "MOSAIC",
        *(() if "SECONDARY_CAPTURE" in policies else ("SECONDARY_CAPTURE",)),
    }
    flat = without_place & {each.code for each in findings}
    if target.colour and any(map(is_coloured, images)) and not flat:
        volume, own = _photograph(images, selection)
        findings.extend(own)
    elif not flat:
        frames, own = _frames(images)
        findings.extend(own)
        if frames and not own:
            frames, own = _single_volume(frames, selection)
            findings.extend(own)
            if frames:
                findings.extend(check_stack(frames, spatial_dims=target.spatial_dims))
                findings.extend(_check_size(frames, limits))
                volume = plan_volume(frames)
                findings.extend(_check_gaps(volume, limits))
                findings.extend(check_extent(volume.shape, volume.affine_lps, target.smallest_mm, len(frames)))
    after = merged(apply_policy(findings, policies))
    number = _series_number(images[0], count)
    return Series(
        number=number,
        modality=_modality(images),
        images=len(images),
        uid=text(images[0].header, "SeriesInstanceUID"),
        description=described(images[0]),
        plane="" if volume is None or volume.photograph else plane_of(normal_of(volume.frames[0])),
        slices=None if volume is None else volume.shape[2],
        scout=is_scout(images),
        derived=is_derived(images),
        selected=takes_series(selection, images[0], number),
        spacing_mm=None
        if volume is None or volume.photograph
        else tuple(np.linalg.norm(volume.affine_lps[:3, :3], axis=0).tolist()),
        findings=after,
        volume=None if verdict(after) is Policy.REJECT else volume,
    )


def _series_number(image: Instance, count: int) -> int:
    """Series Number of an image; ``count`` where it is none."""
    try:
        number = integer(image.header, "SeriesNumber")
    except AttributeProblem:
        number = None
    return count if number is None else number


def _photograph(images: Sequence[Instance], selection: Mapping[str, str]) -> tuple[VolumePlan | None, list[Finding]]:
    coloured = sum(map(is_coloured, images))
    if coloured < len(images):
        message = f"{coloured} of {len(images)} images are in colour, the others are grey; separate them."
        return None, [finding("PHOTOMETRIC_MIXED", message, len(images))]
    return plan_photograph(images, selection)


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
    if target.colour and all(map(is_coloured, images)):
        pass  # photographs have none
    elif references == {""}:
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
    rest = of_planes(selection)
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


def _check_gaps(volume: VolumePlan, limits: Limits) -> list[Finding]:
    """A gap that may pass is filled in memory, so that its length has a bound too."""
    columns, rows, slices = volume.shape
    if volume.missing and columns * rows * slices * 4 > limits.volume_bytes:
        message = f"with {len(volume.missing)} missing slices the volume is larger than the limit of {limits.volume_bytes} bytes."
        return [finding("LIMIT_EXCEEDED", message, len(volume.missing))]
    return []


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
