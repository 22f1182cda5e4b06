"""A DICOM SEG object of frames that are ready: planes and references of the source, identity, colours; made by highdicom (O2 to O8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis import __version__
from monai_dis.bundle.dicom_metadata import Code, SegmentEntry
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import frame_count
from monai_dis.dicom.presentation import LONGEST_LO, LONGEST_SH, MANUFACTURER, Presentation
from monai_dis.dicom.source_images import copy_patient_and_study, copy_series, fixed_times, source_references
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["SegIdentity", "assemble_seg", "segment_description", "tracking_identifier"]

_ALGORITHM_FAMILY = Code("123109", "DCM", "Artificial Intelligence")


@dataclass(frozen=True)
class SegIdentity:
    """Which of a result's objects a SEG is.

    Attributes:
        result: what the result is made of; gives all UIDs.
        kind: first part of the names of its UIDs.
        series_number: of its series.
    """

    result: ResultIdentity
    kind: str
    series_number: int


def tracking_identifier(segment: SegmentEntry, number: int) -> str:
    """Tracking ID of a segment, the same in SEG and SR."""
    return f"{number} {segment.label}"[:LONGEST_LO]


def assemble_seg(
    frames: npt.NDArray[Any],
    plan: VolumePlan,
    source: Dataset,
    descriptions: Sequence[Any],
    colors: Mapping[int, Sequence[int]],
    identity: SegIdentity,
    presentation: Presentation,
    *,
    segmentation_type: str,
    label: str = "SEGMENTATION",
) -> Dataset:
    """Make a SEG.

    Args:
        frames: (slices, rows, columns) segment numbers, or (slices, rows, columns, segments) of 0 to 1, on the source grid.
        plan: the source volume.
        source: whole header of its first image.
        descriptions: of the segments, from `segment_description`.
        colors: red, green, blue by segment number.
        identity: which object it is.
        presentation: descriptions.
        segmentation_type: BINARY, FRACTIONAL or LABELMAP.
        label: Content Label.

    Returns:
        the SEG with one frame for each source plane (and segment); a single empty frame when there is nothing in it.
    """
    content, seg_module, uid = require("highdicom.content"), require("highdicom.seg"), identity.result.uid
    # Older highdicom refers to source frames only where planes come in the order of the source, which it reads itself then.
    order = sorted(range(len(plan.frames)), key=lambda place: plan.frames[place].index)
    places = plan.places
    frames = frames[[places[place] for place in order]]
    whole = len(frames) == sum(frame_count(instance) for instance in plan.instances) and frames.any()
    positions = [content.PlanePositionSequence("PATIENT", plan.frames[place].position) for place in order]
    if not frames.any():
        frames, positions = frames[:1], positions[:1]
    fractional = {"fractional_type": "PROBABILITY", "max_fractional_value": 255}
    with discreet():
        seg: Any = seg_module.Segmentation(
            source_images=source_references(plan),
            pixel_array=frames,
            segmentation_type=segmentation_type,
            segment_descriptions=list(descriptions),
            series_instance_uid=uid(identity.kind, "series"),
            series_number=identity.series_number,
            sop_instance_uid=uid(identity.kind, "instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="monai_dis",
            software_versions=__version__,
            device_serial_number=identity.result.weights[:LONGEST_SH],
            content_description=presentation.statement[:LONGEST_LO],
            content_label=label,
            plane_positions=None if whole or plan.photograph else positions,
            omit_empty_frames=False,
            series_description=presentation.series_description("SEG" if label == "SEGMENTATION" else label),
            **(fractional if segmentation_type == "FRACTIONAL" else {}),
        )
        if plan.photograph:
            _leave_space_out(seg, source)
        for item in seg.SegmentSequence:
            if (color := colors.get(int(item.SegmentNumber))) is not None:
                item.RecommendedDisplayCIELabValue = _cie_lab(color)
        for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid(identity.kind, "dimensions")
        copy_patient_and_study(source, seg)
        copy_series(source, seg)
        fixed_times(source, seg)
    result: Dataset = seg
    return result


def _leave_space_out(seg: Any, source: Dataset) -> None:
    """Say of the planes of a photograph what its header says, and no more."""
    if "PixelSpacing" not in source:
        seg.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence", None)
    seg.PatientOrientation = source.get("PatientOrientation")


def _code(code: Code) -> Any:
    return require("pydicom.sr.coding").Code(code.value, code.scheme, code.meaning)


def segment_description(number: int, segment: SegmentEntry, identity: ResultIdentity, *, kind: str = "tracking") -> Any:
    """Describe a segment with its codes and the algorithm."""
    algorithm = require("highdicom.content").AlgorithmIdentificationSequence(
        name=identity.bundle[:LONGEST_LO],
        family=_code(_ALGORITHM_FAMILY),
        version=identity.version[:LONGEST_LO],
        source=f"monai_dis {__version__}",
        parameters={"weights_sha256": identity.weights, "settings_sha256": identity.settings},
    )
    return require("highdicom.seg").SegmentDescription(
        segment_number=number,
        segment_label=segment.label[:LONGEST_LO],
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=identity.uid(kind, str(number)),
        tracking_id=tracking_identifier(segment, number),
        anatomic_regions=None if segment.region is None else [_code(segment.region)],
    )


def _cie_lab(color: Sequence[int]) -> list[int]:
    """CIE L*a*b* of an sRGB colour, scaled to 16 bits (PS3.3 C.10.7.1.1)."""
    from skimage.color import rgb2lab

    light, a, b = rgb2lab(np.asarray(color, dtype=np.float64).reshape(1, 1, 3) / 255).ravel()
    scaled = (light / 100 * 65535, (a + 128) / 255 * 65535, (b + 128) / 255 * 65535)
    return [round(min(65535.0, max(0.0, float(value)))) for value in scaled]
