"""DICOM objects of the phantom: CT, MR, PET, enhanced multi-frame, and what lies beside images in a study."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from dicom_phantom import STANDARD_GRID, Grid, phantom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"

ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"

PET_IMAGE = "1.2.840.10008.5.1.4.1.1.128"

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"

GRAYSCALE_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "monai_dis synthetic clinical cases")

PATIENTS = {
    "first": ("CANARY-ID-1001", "Canaryname^Alpha"),
    "second": ("CANARY-ID-2002", "Canaryname^Beta"),
}

ACCESSION_NUMBER = "CANARY-ACC-77"

INSTITUTION_NAME = "Canary Phantom Hospital"


def stable_uid(*parts: object) -> str:
    """Return a UID that depends only on the given parts."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, '/'.join(map(str, parts))).int}"


def decimal_strings(values: Sequence[float]) -> list[str]:
    """Format numbers for a DS element (at most 16 characters each)."""
    return [f"{round(float(v), 9) + 0.0:.10g}" for v in values]


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Return one item of a code sequence."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def reference_item(dataset: Dataset) -> Dataset:
    """Return an item that references one stored object."""
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return item


@dataclass(frozen=True)
class Identity:
    """Which patient, study and series an object of a case belongs to."""

    case: str
    patient: str = "first"
    study: int = 1
    series: int = 1
    frame: int = 1
    modality: str = "CT"
    body_part: str = "ABDOMEN"
    description: str = "Phantom"

    def uid(self, *parts: object) -> str:
        """Return a UID that is unique inside the case."""
        return stable_uid(self.case, self.study, self.series, *parts)


def base_dataset(identity: Identity, sop_class: str, instance: int) -> Dataset:
    """Return an object with the patient, study, series and equipment modules."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = identity.uid("instance", sop_class, instance)
    ds.PatientID, ds.PatientName = PATIENTS[identity.patient]
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.StudyInstanceUID = stable_uid(identity.case, "study", identity.study)
    ds.StudyID = str(identity.study)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = "20240102"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = "101500"
    ds.AccessionNumber = ACCESSION_NUMBER
    ds.ReferringPhysicianName = ""
    ds.SeriesInstanceUID = identity.uid("series")
    ds.SeriesNumber = str(identity.series)
    ds.SeriesDescription = identity.description
    ds.Modality = identity.modality
    ds.BodyPartExamined = identity.body_part
    ds.PatientPosition = "HFS"
    ds.FrameOfReferenceUID = stable_uid(identity.case, identity.study, "frame", identity.frame)
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = "Synthetic"
    ds.ManufacturerModelName = "Phantom generator"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    ds.InstitutionName = INSTITUTION_NAME
    ds.InstanceNumber = str(instance)
    return ds


ACQUISITION_KEYWORDS = ("PatientPosition", "AcquisitionDate", "AcquisitionTime")

FRAME_OF_REFERENCE_KEYWORDS = ("FrameOfReferenceUID", "PositionReferenceIndicator")


def delete_elements(ds: Dataset, keywords: Sequence[str]) -> None:
    """Remove the named elements, which must be present."""
    for keyword in keywords:
        delattr(ds, keyword)


def set_pixels(ds: Dataset, stored: np.ndarray, bits_stored: int = 12, signed: bool = False) -> None:
    """Store a grayscale array of 16-bit words: (row, column) or (frame, row, column)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated = 16
    ds.BitsStored = bits_stored
    ds.HighBit = bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.PixelData = np.ascontiguousarray(stored).astype("<i2" if signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"


def set_encapsulated(ds: Dataset, frames: Sequence[bytes]) -> None:
    """Store already compressed frames as pixel data of undefined length."""
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    ds.PixelData = encapsulate(padded)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def set_plane(ds: Dataset, grid: Grid, slice_index: float) -> None:
    """Store the image plane module of one slice."""
    ds.PixelSpacing = decimal_strings((grid.row_spacing, grid.column_spacing))
    ds.ImageOrientationPatient = decimal_strings((*grid.row_direction, *grid.column_direction))
    position = grid.position(slice_index)
    ds.ImagePositionPatient = decimal_strings(position)
    ds.SliceThickness = decimal_strings([abs(float(np.dot(grid.step, grid.normal())))])[0]
    ds.SliceLocation = decimal_strings([float(np.dot(position, grid.normal()))])[0]


def ct_series(identity: Identity, grid: Grid = STANDARD_GRID, volume: np.ndarray | None = None) -> list[Dataset]:
    """Return a CT series, one object per slice, stored as unsigned HU + 1024."""
    volume = phantom(grid) if volume is None else volume
    series = []
    for index, plane in enumerate(volume):
        ds = base_dataset(identity, CT_IMAGE, index + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.AcquisitionNumber = "1"
        ds.KVP = "120"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "-1024", "HU"
        set_plane(ds, grid, index)
        set_pixels(ds, plane.astype(int) + 1024)
        series.append(ds)
    return series


def mr_series(identity: Identity, grid: Grid = STANDARD_GRID, volume: np.ndarray | None = None) -> list[Dataset]:
    """Return an MR series, one object per slice, stored as phantom value + 1000."""
    volume = phantom(grid) if volume is None else volume
    series = []
    for index, plane in enumerate(volume):
        ds = base_dataset(identity, MR_IMAGE, index + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.AcquisitionNumber = "1"
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
        ds.MRAcquisitionType = "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "2000", "20", "1"
        set_plane(ds, grid, index)
        set_pixels(ds, plane.astype(int) + 1000)
        series.append(ds)
    return series


def pet_series(identity: Identity, grid: Grid, slopes: Sequence[float]) -> list[Dataset]:
    """Return a PET series whose slices each carry their own rescale slope."""
    activity = phantom(grid).astype(float) + 1000.0
    series = []
    for index, (plane, slope) in enumerate(zip(activity, slopes, strict=False)):
        ds = base_dataset(identity, PET_IMAGE, index + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.Units, ds.CountsSource, ds.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
        ds.NumberOfSlices, ds.ImageIndex = grid.slices, index + 1
        ds.CorrectedImage, ds.DecayCorrection, ds.CollimatorType = ["DECY"], "START", ""
        ds.DecayFactor, ds.FrameReferenceTime, ds.ActualFrameDuration = "1", "0", "60000"
        ds.RadiopharmaceuticalInformationSequence = []
        del ds.PatientPosition  # excluded by the next two
        ds.PatientOrientationCodeSequence = []
        ds.PatientGantryRelationshipCodeSequence = []
        ds.RescaleSlope, ds.RescaleIntercept = decimal_strings([slope])[0], "0"
        set_plane(ds, grid, index)
        set_pixels(ds, np.rint(plane / slope), bits_stored=16, signed=True)
        series.append(ds)
    return series


def enhanced_image(
    identity: Identity,
    sop_class: str,
    grid: Grid,
    stored: np.ndarray,
    frames: Sequence[tuple[int, int]],
) -> Dataset:
    """Return an enhanced CT or MR object.

    Args:
        identity: Where the object belongs.
        sop_class: Enhanced CT or enhanced MR image storage.
        grid: Geometry of the one stack.
        stored: Stored values, indexed (volume, slice, row, column).
        frames: Frame order as pairs (volume, slice); a volume other than 0 is a
            further echo (MR).
    """
    is_mr = sop_class == ENHANCED_MR_IMAGE
    ds = base_dataset(identity, sop_class, 1)
    frame_type = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    ds.ImageType = frame_type
    ds.PixelPresentation = "MONOCHROME"
    ds.VolumetricProperties = "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ContentQualification = "RESEARCH"
    ds.AcquisitionContextSequence = []
    ds.AcquisitionDateTime = ds.AcquisitionDate + ds.AcquisitionTime
    del ds.AcquisitionDate, ds.AcquisitionTime
    ds.PresentationLUTShape = "IDENTITY"
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    if is_mr:
        ds.ComplexImageComponent, ds.AcquisitionContrast = "MAGNITUDE", "T2"
        ds.ResonantNucleus, ds.KSpaceFiltering, ds.MagneticFieldStrength = "1H", "NONE", "1.5"
        ds.ApplicableSafetyStandardAgency = "IEC"

    organization = identity.uid("dimensions")
    ds.DimensionOrganizationSequence = [Dataset()]
    ds.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    ds.DimensionIndexSequence = [
        dimension_item(organization, 0x00209056, 0x00209111),  # StackID
        dimension_item(organization, 0x00209057, 0x00209111),  # InStackPositionNumber
    ]
    if is_mr:
        ds.DimensionIndexSequence.append(dimension_item(organization, 0x00189082, 0x00189114))

    shared = Dataset()
    measures, orientation, anatomy = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = decimal_strings((grid.row_spacing, grid.column_spacing))
    measures.SliceThickness = decimal_strings([abs(float(np.dot(grid.step, grid.normal())))])[0]
    orientation.ImageOrientationPatient = decimal_strings((*grid.row_direction, *grid.column_direction))
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [code_item("818981001", "SCT", "Abdomen")]
    transformation = Dataset()
    transformation.RescaleSlope = "1"
    transformation.RescaleIntercept = "0" if is_mr else "-1024"
    transformation.RescaleType = "US" if is_mr else "HU"
    type_item = Dataset()
    type_item.FrameType = frame_type
    for keyword in ("PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique"):
        setattr(type_item, keyword, getattr(ds, keyword))
    if is_mr:
        type_item.ComplexImageComponent, type_item.AcquisitionContrast = "MAGNITUDE", "T2"
        shared.MRImageFrameTypeSequence = [type_item]
    else:
        shared.CTImageFrameTypeSequence = [type_item]
        event = Dataset()
        event.IrradiationEventUID = identity.uid("irradiation")
        shared.IrradiationEventIdentificationSequence = [event]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.FrameAnatomySequence = [anatomy]
    shared.PixelValueTransformationSequence = [transformation]
    ds.SharedFunctionalGroupsSequence = [shared]

    groups = []
    for volume_index, slice_index in frames:
        group, content, plane = Dataset(), Dataset(), Dataset()
        content.StackID = "1"
        content.InStackPositionNumber = slice_index + 1
        content.DimensionIndexValues = [1, slice_index + 1] + ([volume_index + 1] if is_mr else [])
        content.FrameReferenceDateTime = content.FrameAcquisitionDateTime = "20240102101500"
        content.FrameAcquisitionDuration = 1.0
        plane.ImagePositionPatient = decimal_strings(grid.position(slice_index))
        group.FrameContentSequence = [content]
        group.PlanePositionSequence = [plane]
        if is_mr:
            echo = Dataset()
            echo.EffectiveEchoTime = 20.0 * (volume_index + 1)
            group.MREchoSequence = [echo]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.NumberOfFrames = str(len(frames))
    set_pixels(ds, np.stack([stored[volume, plane] for volume, plane in frames]))
    return ds


def dimension_item(organization: str, pointer: int, group: int) -> Dataset:
    """Return one dimension of a multi-frame object."""
    item = Dataset()
    item.DimensionOrganizationUID = organization
    item.DimensionIndexPointer = pointer
    item.FunctionalGroupPointer = group
    return item


def localizer_images(identity: Identity) -> list[Dataset]:
    """Return one coronal and one sagittal scout with the given series UID."""
    coronal_scout = Grid(
        slices=1,
        column_direction=(0.0, 0.0, -1.0),
        step=(0.0, 3.0, 0.0),
        origin=(-39.0, 0.0, -31.0),
    )
    sagittal_scout = Grid(
        slices=1,
        row_direction=(0.0, 1.0, 0.0),
        column_direction=(0.0, 0.0, -1.0),
        step=(3.0, 0.0, 0.0),
        origin=(0.0, -39.0, -31.0),
    )
    images = []
    for number, grid in enumerate((coronal_scout, sagittal_scout), start=101):
        ds = ct_series(identity, grid)[0]
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ds.SOPInstanceUID = identity.uid("localizer", number)
        ds.InstanceNumber = str(number)
        images.append(ds)
    return images


def secondary_capture(identity: Identity, instance: int) -> Dataset:
    """Return a secondary capture object without pixels or plane."""
    ds = base_dataset(identity, SECONDARY_CAPTURE, instance)
    delete_elements(ds, ("PatientPosition", *FRAME_OF_REFERENCE_KEYWORDS))
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = ""
    return ds


def segmentation(identity: Identity, series: Sequence[Dataset]) -> Dataset:
    """Return a binary segmentation of two slices of the series."""
    identity = replace(identity, modality="SEG")
    ds = base_dataset(identity, SEGMENTATION, 1)
    delete_elements(ds, ACQUISITION_KEYWORDS)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SegmentationType = "BINARY"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "PHANTOM", "", ""
    ds.LossyImageCompression = "00"
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, "Liver"
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", "phantom"
    segment.SegmentedPropertyCategoryCodeSequence = [code_item("123037004", "SCT", "Anatomical structure")]
    segment.SegmentedPropertyTypeCodeSequence = [code_item("10200004", "SCT", "Liver")]
    ds.SegmentSequence = [segment]
    organization = identity.uid("dimensions")
    ds.DimensionOrganizationSequence = [Dataset()]
    ds.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    ds.DimensionIndexSequence = [
        dimension_item(organization, 0x0062000B, 0x0062000A),  # ReferencedSegmentNumber
        dimension_item(organization, 0x00200032, 0x00209113),  # ImagePositionPatient
    ]
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = series[0].PixelSpacing
    measures.SliceThickness = measures.SpacingBetweenSlices = series[0].SliceThickness
    orientation.ImageOrientationPatient = series[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, source in enumerate(series[10:12], start=1):
        group, content, plane, segment_group = Dataset(), Dataset(), Dataset(), Dataset()
        derivation, reference = Dataset(), reference_item(source)
        content.DimensionIndexValues = [1, number]
        plane.ImagePositionPatient = source.ImagePositionPatient
        segment_group.ReferencedSegmentNumber = 1
        reference.PurposeOfReferenceCodeSequence = [
            code_item("121322", "DCM", "Source image for image processing operation")
        ]
        derivation.DerivationCodeSequence = [code_item("113076", "DCM", "Segmentation")]
        derivation.SourceImageSequence = [reference]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
        group.SegmentIdentificationSequence = [segment_group]
        group.DerivationImageSequence = [derivation]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    series_reference = Dataset()
    series_reference.SeriesInstanceUID = series[0].SeriesInstanceUID
    series_reference.ReferencedInstanceSequence = [reference_item(source) for source in series[10:12]]
    ds.ReferencedSeriesSequence = [series_reference]
    ds.NumberOfFrames = "2"
    ds.Rows, ds.Columns = series[0].Rows, series[0].Columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    mask = np.zeros((2, ds.Rows, ds.Columns), np.uint8)
    mask[:, 12:20, 10:18] = 1
    ds.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    ds["PixelData"].VR = "OB"
    return ds


def structure_set(identity: Identity, series: Sequence[Dataset]) -> Dataset:
    """Return a structure set with one closed contour."""
    ds = base_dataset(replace(identity, modality="RTSTRUCT"), RT_STRUCTURE_SET, 1)
    delete_elements(ds, ACQUISITION_KEYWORDS)
    ds.OperatorsName = ""
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "PHANTOM", "20240102", "101500"
    region = Dataset()
    region.ROINumber, region.ReferencedFrameOfReferenceUID = 1, series[0].FrameOfReferenceUID
    region.ROIName, region.ROIGenerationAlgorithm = "Organ", "AUTOMATIC"
    ds.StructureSetROISequence = [region]
    image, contour, roi, observation = reference_item(series[10]), Dataset(), Dataset(), Dataset()
    contour.ContourImageSequence = [image]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 3
    contour.ContourData = decimal_strings((-10, -5, -70, 10, -5, -70, 0, 10, -70))
    roi.ReferencedROINumber, roi.ContourSequence = 1, [contour]
    ds.ROIContourSequence = [roi]
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", ""
    ds.RTROIObservationsSequence = [observation]
    return ds


def presentation_state(identity: Identity, series: Sequence[Dataset]) -> Dataset:
    """Return a grayscale presentation state of one slice."""
    ds = base_dataset(replace(identity, modality="PR"), GRAYSCALE_PRESENTATION_STATE, 1)
    delete_elements(ds, ACQUISITION_KEYWORDS + FRAME_OF_REFERENCE_KEYWORDS)
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "PHANTOM", "", ""
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20240102", "101500"
    reference, area = Dataset(), Dataset()
    reference.SeriesInstanceUID = series[0].SeriesInstanceUID
    reference.ReferencedImageSequence = [reference_item(series[10])]
    ds.ReferencedSeriesSequence = [reference]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [int(series[0].Columns), int(series[0].Rows)]
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    ds.DisplayedAreaSelectionSequence = [area]
    ds.PresentationLUTShape = "IDENTITY"
    return ds


def text_report(identity: Identity) -> Dataset:
    """Return a basic text report."""
    ds = base_dataset(replace(identity, modality="SR"), BASIC_TEXT_SR, 1)
    delete_elements(ds, ACQUISITION_KEYWORDS + FRAME_OF_REFERENCE_KEYWORDS)
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code_item("18748-4", "LN", "Diagnostic imaging report")]
    text = Dataset()
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.ConceptNameCodeSequence = [code_item("121071", "DCM", "Finding")]
    text.TextValue = "Phantom."
    ds.ContentSequence = [text]
    return ds


OPHTHALMIC_PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.5.1"

DERMOSCOPIC_PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.7"


def photograph(identity: Identity, sop_class: str, colours: np.ndarray, instance: int = 1) -> Dataset:
    """Return an RGB photograph of (row, column, 3) bytes, without a place in space."""
    ds = base_dataset(identity, sop_class, instance)
    delete_elements(ds, ("PatientPosition", *FRAME_OF_REFERENCE_KEYWORDS))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = colours.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = colours.astype(np.uint8).tobytes()
    ds["PixelData"].VR = "OB"
    return ds
