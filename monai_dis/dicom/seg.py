"""DICOM SEG of a label volume, on the planes of its source, made by highdicom (O1 to O8)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import DicomEntry, SegmentEntry
from monai_dis.dicom.extra import require
from monai_dis.dicom.presentation import Presentation
from monai_dis.dicom.seg_object import SegIdentity, assemble_seg, segment_description
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError
from monai_dis.reports.palette import class_color

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["SegKind", "make_seg"]


class SegKind(str, Enum):
    """How segments are stored.

    Attributes:
        BINARY: one frame per plane and segment; every viewer reads it.
        LABELMAP: one frame per plane with segment numbers, for many classes (needs highdicom 0.23 or later).
    """

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


def make_seg(
    labels: npt.NDArray[np.integer[Any]],
    plan: VolumePlan,
    source: Dataset,
    entry: DicomEntry,
    identity: ResultIdentity,
    *,
    kind: SegKind = SegKind.BINARY,
    presentation: Presentation | None = None,
) -> Dataset:
    """Make a SEG of class indices.

    Args:
        labels: (columns, rows, slices) class indices, or (segments, columns, rows, slices) of 0 and 1 for classes that overlap.
        plan: the source volume.
        source: whole header of its first image.
        entry: codes of the classes.
        identity: what the result is made of; gives all UIDs.
        kind: binary or label map.
        presentation: descriptions and series numbers.

    Returns:
        the SEG with one frame for each source plane (and segment); a single empty frame when nothing was found.

    Raises:
        DicomError: when the labels do not fit, or the installed highdicom cannot write this kind.
    """
    presentation = presentation or Presentation()
    frames = _frames_first(labels, plan, entry)
    if not hasattr(require("highdicom.seg").SegmentationTypeValues, kind.value):
        raise DicomError(f'writing {kind.value} needs highdicom 0.23 or later; run `pip install -U "highdicom>=0.23"`.')
    if kind is SegKind.LABELMAP and frames.ndim == 4:
        raise DicomError("classes that overlap cannot be written as a label map; choose the binary kind.")
    descriptions = [segment_description(number, segment, identity) for number, segment in entry.segments.items()]
    colors = {number: segment.color or class_color(number) for number, segment in entry.segments.items()}
    seg = assemble_seg(
        frames,
        plan,
        source,
        descriptions,
        colors,
        SegIdentity(identity, "seg", presentation.seg_series_number),
        presentation,
        segmentation_type=kind.value,
    )
    _add_laterality(seg, entry.segments)
    result: Dataset = seg
    return result


def _frames_first(
    labels: npt.NDArray[np.integer[Any]], plan: VolumePlan, entry: DicomEntry
) -> npt.NDArray[np.integer[Any]]:
    """Labels as highdicom takes them: (slices, rows, columns), overlapping classes last."""
    most = len(entry.segments)
    if labels.shape[-3:] != plan.shape or labels.ndim not in (3, 4):
        raise DicomError(
            f"the labels are of size {labels.shape}, the source of {plan.shape}; bring them to its grid first."
        )
    if labels.ndim == 4 and labels.shape[0] != most:
        raise DicomError(f"the network has {labels.shape[0]} classes, the bundle's dicom entry names {most} segments.")
    if labels.ndim == 3 and (labels.max(initial=0) > most or labels.min(initial=0) < 0):
        raise DicomError(f"the labels reach {labels.max()}, the bundle's dicom entry names {most} segments.")
    moved = np.ascontiguousarray(labels.T)
    return moved.astype(np.uint8 if most < 256 else np.uint16)


def _add_laterality(seg: Any, segments: Mapping[int, SegmentEntry]) -> None:
    """Modifiers of types, which older highdicom cannot write."""
    coded = require("highdicom.sr").CodedConcept
    for item in seg.SegmentSequence:
        segment = segments.get(int(item.SegmentNumber))
        if segment is not None and (code := segment.modifier) is not None:
            modifier = coded(code.value, code.scheme, code.meaning)
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
