"""Planes of an instance: one for a slice, one for each frame of an enhanced multi-frame object, in the same terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_dis.dicom.header_tags import DISCRIMINATORS, PRIVATE_DISCRIMINATORS, TIME_DISCRIMINATORS
from monai_dis.dicom.instance import Instance
from monai_dis.dicom.values import AttributeProblem, integer, number, numbers, text, texts

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Frame", "frame_count", "frames_of", "is_multiframe"]

_UNIT_TOLERANCE = 1e-3  # DS has 16 characters, some writers give three or four decimals
_EXACT = 1e-6  # beyond it cosines are brought to unit length and right angles

#: Where functional groups of enhanced objects hold what tells volumes apart: keyword of the group, keyword inside it.
_GROUP_DISCRIMINATORS = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("ContrastBolusUsageSequence", "ContrastBolusAgentNumber"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
)


@dataclass(frozen=True)
class Frame:
    """One plane with its place in space (patient coordinates, LPS, mm).

    Attributes:
        instance: the file.
        index: of the frame in the file, from 0.
        position: of the centre of the first pixel.
        row: unit vector along which the column index rises.
        column: unit vector along which the row index rises.
        spacing: distance between rows, distance between columns.
        slope: stored values times this ...
        intercept: ... plus this are modality values.
        number: Instance Number; None when it is absent, and for frames.
        marks: values that may tell volumes apart, by keyword.
        times: the same for values that may change from slice to slice.
        localizer: whether the image is a scout.
    """

    instance: Instance
    index: int
    position: tuple[float, ...]
    row: tuple[float, ...]
    column: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float
    intercept: float
    number: int | None
    marks: Mapping[str, str] = field(default_factory=dict, compare=False)
    times: Mapping[str, str] = field(default_factory=dict, compare=False)
    localizer: bool = False


def is_multiframe(instance: Instance) -> bool:
    """Whether planes are described by functional groups (PS3.3 C.7.6.16)."""
    return "PerFrameFunctionalGroupsSequence" in instance.header


def frame_count(instance: Instance) -> int:
    """Number of frames that a file claims.

    Raises:
        AttributeProblem: when it is impossible.
    """
    count = integer(instance.header, "NumberOfFrames")
    if count is not None and count < 1:
        raise AttributeProblem("ATTRIBUTE_INVALID", "NumberOfFrames")
    return count or 1


def frames_of(instance: Instance) -> list[Frame]:
    """Planes of an instance.

    Raises:
        AttributeProblem: when an attribute that places them in space is missing or impossible.
    """
    if is_multiframe(instance):
        return _grouped_frames(instance)
    header = instance.header
    if frame_count(instance) > 1:
        # Several frames without functional groups have one position at most.
        raise AttributeProblem("ATTRIBUTE_MISSING", "PerFrameFunctionalGroupsSequence")
    frame = _placed(instance, 0, header, header, header)
    try:
        instance_number = integer(header, "InstanceNumber")
    except AttributeProblem:
        instance_number = None
    marks = {keyword: found for keyword in DISCRIMINATORS if (found := text(header, keyword))}
    marks.update(
        {name: "\\".join(several) for name, tag in PRIVATE_DISCRIMINATORS.items() if (several := texts(header, tag))}
    )
    times = {keyword: found for keyword in TIME_DISCRIMINATORS if (found := text(header, keyword))}
    slope, intercept = _rescale(header)
    return [
        replace(
            frame,
            slope=slope,
            intercept=intercept,
            number=instance_number,
            marks=marks,
            times=times,
            localizer="LOCALIZER" in texts(header, "ImageType"),
        )
    ]


def _grouped_frames(instance: Instance) -> list[Frame]:
    header = instance.header
    shared = _items(header, "SharedFunctionalGroupsSequence")
    groups = _items(header, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frame_count(instance):
        raise AttributeProblem("ATTRIBUTE_INVALID", "NumberOfFrames")
    common = shared[0] if shared else None
    frames = []
    for index, group in enumerate(groups):

        def inside(keyword: str, group: Dataset = group) -> Dataset | None:
            """The item of a functional group, of the frame itself or shared by all."""
            for holder in (group, common):
                if holder is not None and (items := _items(holder, keyword)):
                    return items[0]
            return None

        plane, orientation = inside("PlanePositionSequence"), inside("PlaneOrientationSequence")
        frame = _placed(instance, index, plane, orientation, inside("PixelMeasuresSequence"))
        values = inside("PixelValueTransformationSequence")
        slope, intercept = (1.0, 0.0) if values is None else _rescale(values)
        marks = {}
        for holder_keyword, keyword in _GROUP_DISCRIMINATORS:
            holder = inside(holder_keyword)
            if holder is not None and (found := text(holder, keyword)):
                marks[keyword] = found
        frames.append(replace(frame, slope=slope, intercept=intercept, marks=marks))
    return frames


def _items(data: Dataset, keyword: str) -> list[Dataset]:
    from monai_dis.dicom.values import raw_value

    value: Any = raw_value(data, keyword)
    return [] if value is None else list(value)


def _placed(
    instance: Instance, index: int, plane: Dataset | None, orientation: Dataset | None, measures: Dataset | None
) -> Frame:
    place = _needed(plane, "ImagePositionPatient", 3)
    directions = _needed(orientation, "ImageOrientationPatient", 6)
    spacing = _needed(measures, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise AttributeProblem("ATTRIBUTE_INVALID", "PixelSpacing")
    row, column = directions[:3], directions[3:]
    lengths = [math.sqrt(sum(value * value for value in axis)) for axis in (row, column)]
    product = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(length - 1) for length in lengths) > _UNIT_TOLERANCE or abs(product) > _UNIT_TOLERANCE:
        raise AttributeProblem("ATTRIBUTE_INVALID", "ImageOrientationPatient")
    if max(abs(length - 1) for length in lengths) > _EXACT or abs(product) > _EXACT:
        row, column = _straightened(row, column)
    return Frame(instance, index, place, row, column, spacing, 1.0, 0.0, None)


def _straightened(row: tuple[float, ...], column: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Unit vectors at right angles in place of cosines of a few digits, which are no valid orientation of a result."""
    first = np.asarray(row) / np.linalg.norm(row)
    second = np.asarray(column) - (np.asarray(column) @ first) * first
    return tuple(map(float, first)), tuple(map(float, second / np.linalg.norm(second)))


def _needed(data: Dataset | None, keyword: str, count: int) -> tuple[float, ...]:
    found = None if data is None else numbers(data, keyword, count)
    if found is None:
        raise AttributeProblem("ATTRIBUTE_MISSING", keyword)
    return found


def _rescale(data: Dataset) -> tuple[float, float]:
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
    if slope == 0:
        raise AttributeProblem("ATTRIBUTE_INVALID", "RescaleSlope")
    if (slope is None) != (intercept is None):
        raise AttributeProblem("ATTRIBUTE_MISSING", "RescaleIntercept" if intercept is None else "RescaleSlope")
    return (1.0, 0.0) if slope is None or intercept is None else (slope, intercept)
