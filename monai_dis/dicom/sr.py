"""Measurements as a DICOM report: TID 1500 with a TID 1411 group for each segment and a TID 1410 group for each object in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis import __version__
from monai_dis.bundle.dicom_metadata import Code, DicomEntry, SegmentEntry
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.geometry import Vector
from monai_dis.dicom.presentation import MANUFACTURER, Presentation
from monai_dis.dicom.seg_object import tracking_identifier
from monai_dis.dicom.source_images import copy_patient_and_study, fixed_times, source_references
from monai_dis.dicom.sr_groups import MILLILITRE, VOLUME, concept, described, measurement, object_groups
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.pipeline.objects import Found

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["make_sr", "segment_volumes_ml"]

_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
_DEVICE = Code("121007", "DCM", "Device")


def segment_volumes_ml(labels: npt.NDArray[np.integer[Any]], affine: Vector, entry: DicomEntry) -> Mapping[int, float]:
    """Volume of each segment.

    Args:
        labels: (columns, rows, slices) class indices, or (segments, columns, rows, slices) of 0 and 1, on the source grid.
        affine: (4, 4) of the source grid in mm; a sheared one's voxels have its determinant as volume too.
        entry: the segments.

    Returns:
        millilitres by segment number; 0 for a segment that was not found.
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    if labels.ndim == 4:
        return {number: float(np.count_nonzero(labels[number - 1])) * voxel_ml for number in entry.segments}
    counts = np.bincount(labels.ravel(), minlength=len(entry.segments) + 1)
    return {number: float(counts[number]) * voxel_ml for number in entry.segments}


def make_sr(
    seg: Dataset,
    volumes_ml: Mapping[int, float],
    plan: VolumePlan,
    source: Dataset,
    entry: DicomEntry,
    identity: ResultIdentity,
    presentation: Presentation | None = None,
    *,
    others: Sequence[Dataset] = (),
    objects: Sequence[Found] = (),
) -> Dataset:
    """Make the report of a segmentation.

    Args:
        seg: the segmentation, to which each measurement refers.
        volumes_ml: by segment number.
        plan: the source volume.
        source: whole header of its first image.
        entry: codes of the segments.
        identity: what the result is made of; gives all UIDs.
        presentation: descriptions and series numbers.
        others: further objects of the result, to which the report refers as evidence.
        objects: what was found; the largest of several of one segment are described one by one.

    Returns:
        a Comprehensive 3D SR.
    """
    presentation = presentation or Presentation()
    sr = require("highdicom.sr")
    references = source_references(plan)
    with discreet():
        groups = [
            _group(sr, seg, references[0].SeriesInstanceUID, number, segment, volumes_ml[number], identity)
            for number, segment in entry.segments.items()
        ]
        groups += object_groups(objects, entry, seg.FrameOfReferenceUID, identity)
        observer = sr.ObserverContext(
            observer_type=concept(_DEVICE),
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                uid=identity.uid("device"),
                name=identity.bundle,
                manufacturer_name=MANUFACTURER,
                model_name=f"monai_dis {__version__}",
            ),
        )
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=concept(_PROCEDURE),
            imaging_measurements=groups,
            title=concept(_TITLE),
        )
        made: Any = sr.Comprehensive3DSR(
            evidence=[*references, *(_nameless(each, references[0]) for each in (seg, *others))],
            content=report[0],
            series_instance_uid=identity.uid("sr", "series"),
            series_number=presentation.sr_series_number,
            sop_instance_uid=identity.uid("sr", "instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            series_description=presentation.series_description("SR"),
        )
        copy_patient_and_study(source, made)
        fixed_times(source, made)
        made.ManufacturerModelName, made.SoftwareVersions = "monai_dis", __version__
        _fix_observation_times(made)
    result: Dataset = made
    return result


def _nameless(seg: Dataset, reference: Dataset) -> Dataset:
    """The segmentation as evidence: what identifies the object, nothing that identifies the patient."""
    evidence: Dataset = require("pydicom.dataset").Dataset()
    # Copies: elements that two data sets share change in both.
    evidence.update({element.tag: copy(element) for element in reference})
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality"):
        setattr(evidence, keyword, seg[keyword].value)
    return evidence


def _group(
    sr: Any, seg: Dataset, series: str, number: int, segment: SegmentEntry, volume_ml: float, identity: ResultIdentity
) -> Any:
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=identity.uid("tracking", str(number)), identifier=tracking_identifier(segment, number)
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(series),
        ),
        measurements=[measurement(VOLUME, volume_ml, MILLILITRE)],
        **described(segment, identity),
    )


def _fix_observation_times(made: Any) -> None:
    """No part of the report may hold the time of the clock."""
    for item in made.iterall():
        if item.keyword == "ObservationDateTime":
            item.value = f"{made.ContentDate}{made.ContentTime}"
