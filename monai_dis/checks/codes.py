"""Every code that a finding may have: what is done about it, whether a site may let it pass, and what it means.

The table of `docs/dicom.md` is made from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["TABLE", "Code", "Policy", "codes_table"]


class Policy(str, Enum):
    """What is done about a finding, from the mildest to the strictest.

    Attributes:
        ACCEPT: there is nothing to report; the verdict on an input without findings.
        FIX: handled exactly, without a guess; the finding is information.
        WARN: the result is written and the finding stands in the report.
        REJECT: no result is written.
    """

    ACCEPT = "accept"
    FIX = "fix"
    WARN = "warn"
    REJECT = "reject"

    @property
    def strictness(self) -> int:
        """0 for `ACCEPT` to 3 for `REJECT`."""
        return list(Policy).index(self)


@dataclass(frozen=True)
class Code:
    """What a code means.

    Attributes:
        policy: what is done about it unless a site says otherwise.
        meaning: in a sentence.
        relaxable: whether a site may turn it from `REJECT` to `WARN`: there is a defined way to go on.
    """

    policy: Policy
    meaning: str
    relaxable: bool = False


FIX, WARN, REJECT = Policy.FIX, Policy.WARN, Policy.REJECT

#: All codes by name.
TABLE: dict[str, Code] = {
    "AFFINE_CONFLICT": Code(REJECT, "NIfTI: sform and qform place the volume differently."),
    "AFFINE_MISSING": Code(REJECT, "NIfTI, NRRD or MetaImage without a place in space."),
    "AFFINE_SHEARED": Code(FIX, "NIfTI whose axes are not at right angles; straightened for the network."),
    "AFFINE_SINGULAR": Code(REJECT, "A volume file with zero spacing or axes in one plane."),
    "ARCHIVE_UNSAFE": Code(REJECT, "An archive with links, or with names that lead out of its folder."),
    "ATTRIBUTE_INVALID": Code(REJECT, "An attribute that cannot be what it is, such as a spacing of zero."),
    "ATTRIBUTE_MISSING": Code(REJECT, "An attribute that geometry or values need is missing or empty."),
    "AXIS_REVERSED": Code(FIX, "Rows or columns run against the usual direction."),
    "BODY_PART_MISMATCH": Code(WARN, "BodyPartExamined is none that the bundle was made for."),
    "BURNED_IN_ANNOTATION": Code(WARN, "BurnedInAnnotation is YES; no picture is written."),
    "CHARSET_INVALID": Code(WARN, "Text does not fit SpecificCharacterSet; its bytes are copied."),
    "DECODER_MISSING": Code(REJECT, "Nothing that is installed decodes the transfer syntax."),
    "FILE_CORRUPT": Code(REJECT, "A file whose header or pixel length is wrong."),
    "FILE_NOT_DICOM": Code(WARN, "Files that are no DICOM and belong to no series are skipped."),
    "FILE_NO_HEADER": Code(FIX, "A data set without preamble or file meta information is read."),
    "FILE_TRUNCATED": Code(REJECT, "A file is shorter than it says."),
    "FRAME_OF_REFERENCE_MISSING": Code(WARN, "FrameOfReferenceUID is absent; one is derived from the series."),
    "FRAME_OF_REFERENCE_MIXED": Code(REJECT, "Several frames of reference in one stack; relaxed, the first counts.", True),
    "GANTRY_TILT": Code(FIX, "Sheared stack: straightened for the network, the result lies on the source planes."),
    "GANTRY_TILT_INCONSISTENT": Code(WARN, "GantryDetectorTilt contradicts the positions, which count."),
    "IMAGE_NOT_GRAYSCALE": Code(REJECT, "Images in colour for a bundle that takes grey ones."),
    "IMAGE_TOO_SMALL": Code(REJECT, "A volume that is shorter on each side than the network needs on one."),
    "INPUT_ARCHIVE": Code(FIX, "A ZIP or tar archive was unpacked into a private folder."),
    "INPUT_DICOMDIR": Code(FIX, "The files that a DICOMDIR names are used."),
    "INPUT_EMPTY": Code(REJECT, "There is no DICOM image in the input."),
    "LIMIT_EXCEEDED": Code(REJECT, "A size beyond a limit (`--limit`)."),
    "LOSSY_COMPRESSION": Code(WARN, "The images were compressed with loss."),
    "MODALITY_MISMATCH": Code(REJECT, "Another modality than the bundle's; relaxed, it is segmented all the same.", True),
    "MOSAIC": Code(REJECT, "Each image is a mosaic of many slices."),
    "MULTIFRAME": Code(FIX, "Geometry and rescale come from functional groups."),
    "OBJECT_DAMAGED": Code(WARN, "A damaged object that is no image is left out."),
    "OBJECT_SKIPPED": Code(FIX, "Objects that are no images (SEG, SR, PR, RT and others) are left out."),
    "ORIENTATION_MIXED": Code(REJECT, "Planes of several orientations, sizes or spacings; localizers beside one stack are left out (fix)."),
    "ORIENTATION_OBLIQUE": Code(FIX, "The planes are not axial."),
    "PATIENT_MIXED": Code(REJECT, "Images of several patients."),
    "PHOTOMETRIC_MIXED": Code(REJECT, "MONOCHROME1 and MONOCHROME2, or colour and grey, in one series."),
    "PHOTOMETRIC_MONOCHROME1": Code(WARN, "MONOCHROME1 in CT, MR or PET; values are used as they are."),
    "PICTURE_TURNED": Code(WARN, "A picture that its file wants to be shown turned; its segmentation is turned likewise."),
    "PIXELS_MISSING": Code(
        REJECT, "Tiles or chunks of a slide are missing or damaged; relaxed, they are taken as empty ground.", True
    ),
    "PIXEL_BITS": Code(FIX, "Signed values of fewer bits than are allocated are masked and sign-extended."),
    "PIXEL_NON_SQUARE": Code(FIX, "Rows and columns are spaced differently."),
    "PIXEL_PADDING": Code(FIX, "Pixels with PixelPaddingValue are set to air."),
    "PREAMBLE_SUSPICIOUS": Code(WARN, "The 128 bytes before the DICOM prefix are neither zero nor TIFF."),
    "RESCALE_PER_SLICE": Code(FIX, "RescaleSlope or RescaleIntercept differ between slices; each has its own."),
    "SCALING_APPLIED": Code(FIX, "NIfTI slope and intercept are applied."),
    "SCALING_INVALID": Code(REJECT, "NIfTI slope or intercept is not finite."),
    "SECONDARY_CAPTURE": Code(REJECT, "Captures; relaxed, they are used where they have positions and orientations.", True),
    "SELECTION_EMPTY": Code(REJECT, "`--select` takes none of the series; they are listed."),
    "SERIES_AMBIGUOUS": Code(REJECT, "Several series could be segmented; they are listed with what selects each."),
    "SERIES_INCOMPLETE": Code(REJECT, "A damaged file belongs to the series; relaxed, it is segmented without that slice.", True),
    "SERIES_LARGE": Code(WARN, "A series of more than 250 MB when decoded."),
    "SERIES_SELECTED": Code(FIX, "One of several series is used; the others are named."),
    "SINGLE_SLICE": Code(REJECT, "One slice for a bundle of volumes."),
    "SLICE_CONFLICT": Code(REJECT, "Slices of different content at one position."),
    "SLICE_DUPLICATE": Code(FIX, "Slices that are stored twice are used once."),
    "SLICE_GAP": Code(REJECT, "Slices are missing; relaxed, they are interpolated for the network and not assessed.", True),
    "SLICE_ORDER": Code(FIX, "InstanceNumber is missing or does not rise; the order is that of the positions."),
    "SPACE_CONVERTED": Code(FIX, "NRRD or MetaImage coordinates are brought to LPS."),
    "SPACING_NON_UNIFORM": Code(REJECT, "Slices are not evenly spaced, or shifted against each other."),
    "STUDY_MIXED": Code(REJECT, "Images of several studies."),
    "TRANSFER_SYNTAX_UNSUPPORTED": Code(REJECT, "Video, or a transfer syntax that is not known."),
    "UID_MISSING": Code(REJECT, "Study, series or instance UID is missing; relaxed, they are derived.", True),
    "UNITS_NOT_MM": Code(FIX, "NIfTI in metres or micrometres is brought to millimetres."),
    "VALUES_COMPLEX": Code(REJECT, "A volume file of complex numbers."),
    "VOLUME_MULTIPLE": Code(REJECT, "Several volumes in one series or file; chosen with `--select`, it is fixed."),
}  # fmt: skip


def codes_table() -> str:
    """All codes as a table in Markdown."""
    rows = [
        f"| `{name}` | {code.policy.value} | {'warn' if code.relaxable else '-'} | {code.meaning} |"
        for name, code in sorted(TABLE.items())
    ]
    return "\n".join(["| code | policy | can be relaxed to | meaning |", "|---|---|---|---|", *rows])
