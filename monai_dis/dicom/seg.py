"""DICOM SEG of a label volume, on the planes of its source, made by highdicom (O1 to O8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis import __version__
from monai_dis.bundle.dicom_metadata import Code, DicomEntry, SegmentEntry
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import frame_count
from monai_dis.dicom.inspection import VolumePlan
from monai_dis.dicom.source_images import copy_patient_and_study, fixed_times, source_references
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.errors import DicomError
from monai_dis.reports.palette import class_color

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["RESEARCH_USE", "Presentation", "SegKind", "make_seg", "tracking_identifier"]

#: Stands in every result unless a site sets its own text.
RESEARCH_USE = "Research use only. Not for diagnosis."
_LONGEST_LO, _LONGEST_SH = 64, 16
_MANUFACTURER = "monai_dis contributors"
_ALGORITHM_FAMILY = Code("123109", "DCM", "Artificial Intelligence")


class SegKind(str, Enum):
    """How segments are stored.

    Attributes:
        BINARY: one frame per plane and segment; every viewer reads it.
        LABELMAP: one frame per plane with segment numbers, for many classes (needs highdicom 0.23 or later).
    """

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


@dataclass(frozen=True)
class Presentation:
    """How a result presents itself.

    Attributes:
        statement: in the descriptions of series and content, 64 characters at most.
        seg_series_number: of the series of segmentations.
        sr_series_number: of the series of measurements.
        relaxed: codes of findings that a site relaxed; named in the series description.
    """

    statement: str = RESEARCH_USE
    seg_series_number: int = 9001
    sr_series_number: int = 9002
    relaxed: tuple[str, ...] = ()

    def series_description(self, kind: str) -> str:
        """Description of a series, 64 characters at most."""
        short = "research use only" if self.statement == RESEARCH_USE else self.statement
        relaxed = f", relaxed {' '.join(self.relaxed)}" if self.relaxed else ""
        return f"{kind} monai_dis, {short}{relaxed}"[:_LONGEST_LO]


def tracking_identifier(segment: SegmentEntry, number: int) -> str:
    """Tracking ID of a segment, the same in SEG and SR."""
    return f"{number} {segment.label}"[:_LONGEST_LO]


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
    seg_module, content = require("highdicom.seg"), require("highdicom.content")
    if not hasattr(seg_module.SegmentationTypeValues, kind.value):
        raise DicomError(f'writing {kind.value} needs highdicom 0.23 or later; run `pip install -U "highdicom>=0.23"`.')
    if kind is SegKind.LABELMAP and frames.ndim == 4:
        raise DicomError("classes that overlap cannot be written as a label map; choose the binary kind.")
    # Older highdicom refers to source frames only where planes come in the order of the source, which it reads itself then.
    order = sorted(range(len(frames)), key=lambda place: plan.frames[place].index)
    frames = frames[order]
    whole = len(frames) == sum(frame_count(instance) for instance in plan.instances) and frames.any()
    positions = [content.PlanePositionSequence("PATIENT", plan.frames[place].position) for place in order]
    if not frames.any():
        frames, positions = frames[:1], positions[:1]
    with discreet():
        seg: Any = seg_module.Segmentation(
            source_images=source_references(plan),
            pixel_array=frames,
            segmentation_type=kind.value,
            segment_descriptions=[
                _description(number, segment, identity) for number, segment in entry.segments.items()
            ],
            series_instance_uid=identity.uid("seg", "series"),
            series_number=presentation.seg_series_number,
            sop_instance_uid=identity.uid("seg", "instance"),
            instance_number=1,
            manufacturer=_MANUFACTURER,
            manufacturer_model_name="monai_dis",
            software_versions=__version__,
            device_serial_number=identity.weights[:_LONGEST_SH],
            content_description=presentation.statement[:_LONGEST_LO],
            content_label="SEGMENTATION",
            plane_positions=None if whole else positions,
            omit_empty_frames=False,
            series_description=presentation.series_description("SEG"),
        )
        _add_display(seg, entry.segments)
        _fix_dimension_uid(seg, identity.uid("seg", "dimensions"))
        copy_patient_and_study(source, seg)
        fixed_times(source, seg)
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


def _code(code: Code) -> Any:
    return require("pydicom.sr.coding").Code(code.value, code.scheme, code.meaning)


def _description(number: int, segment: SegmentEntry, identity: ResultIdentity) -> Any:
    algorithm = require("highdicom.content").AlgorithmIdentificationSequence(
        name=identity.bundle[:_LONGEST_LO],
        family=_code(_ALGORITHM_FAMILY),
        version=identity.version[:_LONGEST_LO],
        source=f"monai_dis {__version__}",
        parameters={"weights_sha256": identity.weights, "settings_sha256": identity.settings},
    )
    return require("highdicom.seg").SegmentDescription(
        segment_number=number,
        segment_label=segment.label[:_LONGEST_LO],
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=identity.uid("tracking", str(number)),
        tracking_id=tracking_identifier(segment, number),
        anatomic_regions=None if segment.region is None else [_code(segment.region)],
    )


def _add_display(seg: Any, segments: Mapping[int, SegmentEntry]) -> None:
    """Laterality and colours, which older highdicom cannot write."""
    coded = require("highdicom.sr").CodedConcept
    for item in seg.SegmentSequence:
        segment = segments.get(int(item.SegmentNumber))
        if segment is None:
            continue
        if segment.modifier is not None:
            code = segment.modifier
            modifier = coded(code.value, code.scheme, code.meaning)
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
        color = segment.color or class_color(int(item.SegmentNumber))
        item.RecommendedDisplayCIELabValue = _cie_lab(color)


def _cie_lab(color: Sequence[int]) -> list[int]:
    """CIE L*a*b* of an sRGB colour, scaled to 16 bits (PS3.3 C.10.7.1.1)."""
    from skimage.color import rgb2lab

    light, a, b = rgb2lab(np.asarray(color, dtype=np.float64).reshape(1, 1, 3) / 255).ravel()
    scaled = (light / 100 * 65535, (a + 128) / 255 * 65535, (b + 128) / 255 * 65535)
    return [round(min(65535.0, max(0.0, float(value)))) for value in scaled]


def _fix_dimension_uid(seg: Any, uid: str) -> None:
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
