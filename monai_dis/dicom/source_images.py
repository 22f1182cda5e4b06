"""What a result takes over from its source: references and planes for highdicom, and the patient's and study's attributes (O8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from monai_dis.checks.limits import Limits
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import is_multiframe
from monai_dis.dicom.instance import open_data_set
from monai_dis.dicom.structure import StructureError
from monai_dis.dicom.uids import derived_uid
from monai_dis.dicom.values import number, text
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "copy_patient_and_study",
    "copy_series",
    "fixed_times",
    "read_first_header",
    "slice_distance_mm",
    "slice_thickness_mm",
    "source_references",
]

#: Copied as they are: patient, patient study, study, clinical trial, laterality, body part, de-identification.
_COPIED = [
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
    "OtherPatientIDsSequence",
    "PatientComments",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "EthnicGroup",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "ProcedureCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "LongitudinalTemporalInformationModified",
]
#: Of the General Series module, which a segmentation has and a report has not.
_OF_SERIES = ("BodyPartExamined", "Laterality")
_SIDES = ("L", "R")  # values that the standard has for Laterality
#: Type 2 attributes: present, empty where the source has none.
_ALWAYS = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
]
#: Names of persons, which may hold any bytes.
_NAMES = ("PatientName", "ReferringPhysicianName")
#: Photographs whose class may hold several frames: ophthalmic ones of 8 and of 16 bits.
_OPHTHALMIC = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
_SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence")
_NO_DATE, _NO_TIME = "19000101", "000000"


def read_first_header(plan: VolumePlan, limits: Limits) -> Dataset:
    """The whole header of the first image.

    Raises:
        DicomError: when its file changed since the inspection.
    """
    try:
        return open_data_set(plan.instances[0], limits, pixels=False)
    except StructureError as error:
        raise DicomError(f"{error.code}: {error.message}") from None


def source_references(plan: VolumePlan) -> list[Dataset]:
    """One small data set per source instance, in the order of planes, with what highdicom needs of it and no person's data.

    Missing UIDs are derived from those of the instances.
    """
    return [_reference(plan, index) for index in range(len(plan.instances))]


def _reference(plan: VolumePlan, index: int) -> Dataset:
    instance = plan.instances[index]
    uids = sorted(each.uid for each in plan.instances)
    header = instance.header
    reference: Any = require("pydicom.dataset").Dataset()
    with discreet():
        reference.SOPClassUID, reference.SOPInstanceUID = instance.sop_class, instance.uid
        reference.Modality = text(header, "Modality")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            setattr(reference, keyword, text(header, keyword) or derived_uid(keyword, *uids))
        if not plan.photograph:
            # One for all planes, also where a site lets several pass.
            known = [text(each.header, "FrameOfReferenceUID") for each in plan.instances]
            reference.FrameOfReferenceUID = next(filter(None, known), "") or derived_uid("FrameOfReferenceUID", *uids)
        for keyword in _ALWAYS:
            setattr(reference, keyword, None)
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "ImageType"):
            if keyword in header:
                setattr(reference, keyword, header[keyword].value)
        if plan.photograph:
            # Of classes that may hold several frames highdicom takes pixel measures from a group, of the others from the attribute.
            if instance.sop_class in _OPHTHALMIC:
                reference.NumberOfFrames = 1
            reference.PixelSpacing = list(plan.frames[0].spacing)
            reference.SharedFunctionalGroupsSequence = [_measures(plan)]
            return cast("Dataset", reference)
        reference.PositionReferenceIndicator = None
        if is_multiframe(instance):
            reference.NumberOfFrames = header.NumberOfFrames
            reference.SharedFunctionalGroupsSequence = [_shared_group(plan)]
            reference.PerFrameFunctionalGroupsSequence = [
                _without_orientation(group) for group in header.PerFrameFunctionalGroupsSequence
            ]
        else:
            # Of planes that are alike within a tolerance the first speaks for all: highdicom compares them digit by digit.
            reference.PixelSpacing = plan.frames[0].instance.header["PixelSpacing"].value
            reference.ImageOrientationPatient = _directions(plan)
            reference.ImagePositionPatient = header["ImagePositionPatient"].value
            reference.SliceThickness = _decimal(slice_thickness_mm(plan))
            reference.SpacingBetweenSlices = _decimal(slice_distance_mm(plan))
    result: Dataset = reference
    return result


def _measures(plan: VolumePlan) -> Any:
    dataset = require("pydicom.dataset").Dataset
    group: Any = dataset()
    group.PixelMeasuresSequence = [dataset()]
    group.PixelMeasuresSequence[0].PixelSpacing = list(plan.frames[0].spacing)
    return group


def _directions(plan: VolumePlan) -> Any:
    """The orientation of all planes: as the first one's header has it, where those are unit vectors at right angles."""
    first = plan.frames[0]
    cosines = (*first.row, *first.column)
    written = first.instance.header["ImageOrientationPatient"].value
    # A decimal string has 16 characters.
    return written if tuple(map(float, written)) == cosines else [f"{each:.12f}" for each in cosines]


def _without_orientation(group: Any) -> Any:
    """A frame's functional groups without what `_shared_group` says for all."""
    own: Any = require("pydicom.dataset").Dataset()
    own.update({element.tag: element for element in group if element.keyword not in _SHARED})
    return own


def _shared_group(plan: VolumePlan) -> Any:
    """Spacing and orientation, wherever the source's functional groups hold them."""
    content, first = require("highdicom.content"), plan.frames[0]
    group: Any = require("pydicom.dataset").Dataset()
    group.PixelMeasuresSequence = content.PixelMeasuresSequence(
        pixel_spacing=first.spacing,
        slice_thickness=_decimal(slice_thickness_mm(plan)),
        spacing_between_slices=_decimal(slice_distance_mm(plan)),
    )
    group.PlaneOrientationSequence = content.PlaneOrientationSequence("PATIENT", (*first.row, *first.column))
    return group


def _decimal(value: float) -> float:
    """A number that fits the 16 characters of a decimal string."""
    return float(f"{value:.10g}")


def slice_thickness_mm(plan: VolumePlan) -> float:
    """SliceThickness of the source, where it is a number; otherwise the distance of its planes."""
    header = plan.frames[0].instance.header
    try:
        stated = number(header, "SliceThickness")
    except Exception:
        stated = None
    return stated if stated is not None and stated > 0 else slice_distance_mm(plan)


def slice_distance_mm(plan: VolumePlan) -> float:
    """Distance of neighbouring planes along their normal."""
    axes = plan.affine_lps[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    return float(abs(normal @ axes[:, 2]) / np.linalg.norm(normal))


def copy_series(source: Dataset, result: Dataset) -> None:
    """Copy what a series of images says of the body; a side only where it is one."""
    with discreet():
        for keyword in _OF_SERIES:
            if keyword in source and (keyword != "Laterality" or text(source, keyword) in _SIDES):
                result[keyword] = source[keyword]


def copy_patient_and_study(source: Dataset, result: Dataset) -> None:
    """Copy what identifies the patient and the study, bytes of names included, in the source's character set."""
    with discreet():
        names = {keyword: name for keyword in _NAMES if (name := _name_as_written(source, keyword)) is not None}
        for keyword in _COPIED:
            if keyword in names:
                continue
            if keyword in source and (keyword != "SpecificCharacterSet" or source[keyword].value):
                result[keyword] = source[keyword]
            elif keyword == "SpecificCharacterSet" and keyword in result:
                del result[keyword]
        for keyword in _ALWAYS:
            if keyword not in result:
                setattr(result, keyword, None)
        for keyword, name in names.items():
            setattr(result, keyword, name)


def _name_as_written(source: Dataset, keyword: str) -> Any | None:
    """A name that keeps its bytes, also where they do not fit the declared character set; None when pydicom read it already."""
    values, charset = require("pydicom.valuerep"), require("pydicom.charset")
    element = source.get_item(keyword) if keyword in source else None
    if element is None or not isinstance(element.value, bytes):
        return None
    declared = source.get("SpecificCharacterSet")
    encodings = charset.convert_encodings(declared) if declared else [charset.default_encoding]
    return values.PersonName(element.value.rstrip(b" "), encodings)


def fixed_times(source: Dataset, result: Dataset) -> None:
    """Put the source's date and time where highdicom puts those of the clock."""
    date = next(
        (text(source, key) for key in ("ContentDate", "SeriesDate", "StudyDate") if text(source, key)), _NO_DATE
    )
    time = next(
        (text(source, key) for key in ("ContentTime", "SeriesTime", "StudyTime") if text(source, key)), _NO_TIME
    )
    with discreet():
        result.ContentDate, result.ContentTime = date, time
        result.SeriesDate, result.SeriesTime = date, time
        for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContributingEquipmentSequence"):
            if keyword in result:
                del result[keyword]
