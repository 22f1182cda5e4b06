"""Checks of each image of a series by its header: kind of image, stored values, compression, sizes (I13 to I18, I21, I22, I24)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monai_dis.checks.findings import Finding, finding
from monai_dis.checks.limits import Limits
from monai_dis.dicom.codecs import KNOWN, LOSSY, NATIVE, can_decode
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import frame_count
from monai_dis.dicom.instance import Instance
from monai_dis.dicom.photographs import is_coloured
from monai_dis.dicom.values import AttributeProblem, integer, raw_value, text, texts

__all__ = ["check_image", "check_values_of_series", "is_image", "is_secondary_capture", "may_be_image", "stored_bytes"]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SECONDARY_CAPTURE = f"{_STORAGE}7"
_PHOTOGRAPHS = f"{_STORAGE}77.1."
#: Objects with pixels that are no images of a patient: segmentations, dose, maps, presentation states, raw data.
_NO_IMAGES = frozenset(
    f"{_STORAGE}{end}"
    for end in ("66.4", "66.7", "66.5", "30", "66", "67", "11.1", *(f"481.{number}" for number in range(2, 24)))
)
#: First numbers of further classes without images: waveforms, presentation states, plans, reports, documents, scans of surfaces.
_NO_IMAGE_FAMILIES = frozenset(
    {"9", "11", "30", "34", "66", "67", "68", "78", "79", "80", "88", "90", "104", "200", "201"}
)
_IMAGES = frozenset(
    f"{_STORAGE}{end}"
    for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "128", "128.1", "130", "1", "1.1", "1.2", "20")
)
_TEXT_TAGS = (0x00100010, 0x00100020, 0x00080090, 0x00081030, 0x0008103E, 0x00080080)


def is_image(instance: Instance) -> bool:
    """Whether an object is an image, by its SOP class; of a class unknown here, by its having pixels."""
    if instance.sop_class in _NO_IMAGES:
        return False
    # A file that ends before its pixels still says how large they would be.
    return instance.sop_class in _IMAGES or instance.pixels is not None or "Rows" in instance.header


def may_be_image(sop_class: str) -> bool:
    """Whether an object that cannot be read may be an image, by its SOP class."""
    end = sop_class.removeprefix(_STORAGE)
    return sop_class not in _NO_IMAGES and end.split(".")[0] not in _NO_IMAGE_FAMILIES


def is_secondary_capture(instance: Instance) -> bool:
    """Whether an image is a screen capture or the like, without a place in space."""
    if instance.sop_class == _SECONDARY_CAPTURE or instance.sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        return True
    if instance.sop_class.startswith(_PHOTOGRAPHS):
        return False  # programs that wrap a picture call it derived and secondary, which it is
    kinds = texts(instance.header, "ImageType")
    return len(kinds) > 1 and kinds[1] == "SECONDARY" and "ImagePositionPatient" not in instance.header


def stored_bytes(instance: Instance) -> int:
    """Bytes of all frames when decoded, as the header claims.

    Raises:
        AttributeProblem: when an attribute is missing or impossible.
    """
    rows, columns, allocated = (_needed(instance, name) for name in ("Rows", "Columns", "BitsAllocated"))
    samples = integer(instance.header, "SamplesPerPixel") or 1
    if text(instance.header, "PhotometricInterpretation") == "YBR_FULL_422" and instance.syntax in NATIVE:
        samples = 2  # two pixels share their colour (PS3.3 C.7.6.3.1.2)
    return (rows * columns * frame_count(instance) * samples * allocated + 7) // 8


def check_image(instance: Instance, limits: Limits, *, colour: bool = False) -> list[Finding]:
    """Everything about one image that its own header tells, apart from its place in space; ``colour`` allows photographs."""
    findings: list[Finding] = []
    try:
        findings.extend(_kind(instance, colour))
        if findings and findings[0].code != "SECONDARY_CAPTURE":  # which a site may let pass
            return findings
        claimed = stored_bytes(instance)
        if claimed > limits.volume_bytes or frame_count(instance) > limits.frames:
            return [
                finding("LIMIT_EXCEEDED", f"a file claims {claimed} bytes of pixels in {frame_count(instance)} frames.")
            ]
        findings.extend(_pixel_length(instance, claimed))
        findings.extend(_compression(instance))
        findings.extend(_stored_values(instance))
    except AttributeProblem as problem:
        findings.append(finding(problem.code, f"{problem.keyword} is {_said(problem)}; get the original images."))
    if text(instance.header, "BurnedInAnnotation") == "YES":
        findings.append(
            finding("BURNED_IN_ANNOTATION", "BurnedInAnnotation is YES; no picture of the images is written.")
        )
    if not _has_valid_texts(instance):
        findings.append(
            finding("CHARSET_INVALID", "text does not fit SpecificCharacterSet; its bytes are copied as they are.")
        )
    return findings


def check_values_of_series(instances: Sequence[Instance], rescales: Sequence[tuple[float, float]]) -> list[Finding]:
    """What only a comparison of images tells about their values.

    Args:
        instances: the images.
        rescales: slope and intercept of each of their frames.
    """
    findings: list[Finding] = []
    if len(set(rescales)) > 1:
        findings.append(
            finding(
                "RESCALE_PER_SLICE", "RescaleSlope or RescaleIntercept differ; each slice has its own.", len(rescales)
            )
        )
    modality = text(instances[0].header, "Modality")
    inverted = [text(each.header, "PhotometricInterpretation") == "MONOCHROME1" for each in instances]
    if any(inverted) and not all(inverted):
        message = f"{sum(inverted)} of {len(inverted)} images are MONOCHROME1, the others MONOCHROME2."
        findings.append(finding("PHOTOMETRIC_MIXED", message, len(inverted)))
    elif all(inverted) and modality not in ("CR", "DX", "MG"):
        message = "PhotometricInterpretation is MONOCHROME1; the values are used as they are."
        findings.append(finding("PHOTOMETRIC_MONOCHROME1", message, len(inverted)))
    return findings


def _needed(instance: Instance, keyword: str) -> int:
    found = integer(instance.header, keyword)
    if found is None:
        raise AttributeProblem("ATTRIBUTE_MISSING", keyword)
    if found < 1:
        raise AttributeProblem("ATTRIBUTE_INVALID", keyword)
    return found


def _said(problem: AttributeProblem) -> str:
    return "missing or empty" if problem.code == "ATTRIBUTE_MISSING" else "impossible"


def _kind(instance: Instance, colour: bool) -> Iterator[Finding]:
    samples = integer(instance.header, "SamplesPerPixel") or 1
    meaning = text(instance.header, "PhotometricInterpretation")
    photograph = colour and is_coloured(instance)
    if photograph and samples != (1 if meaning == "PALETTE COLOR" else 3):
        raise AttributeProblem("ATTRIBUTE_INVALID", "SamplesPerPixel")
    if not photograph and (samples != 1 or meaning not in ("MONOCHROME1", "MONOCHROME2")):
        yield finding(
            "IMAGE_NOT_GRAYSCALE", "the images are in colour, grey ones are wanted; give the original images."
        )
    elif "MOSAIC" in texts(instance.header, "ImageType"):
        yield finding(
            "MOSAIC", "each image is a mosaic of many slices; export the series as enhanced or single images."
        )
    elif is_secondary_capture(instance):
        yield finding(
            "SECONDARY_CAPTURE", "the images are captures by their class or ImageType; give the original images."
        )


def _pixel_length(instance: Instance, claimed: int) -> Iterator[Finding]:
    pixels = instance.pixels
    if pixels is None:
        raise AttributeProblem("ATTRIBUTE_MISSING", "PixelData")
    if instance.syntax in NATIVE:
        if pixels.fragments is not None or not claimed <= pixels.length <= claimed + claimed % 2:
            message = (
                f"the pixel data have {pixels.length} bytes, the header claims {claimed}; get a new copy of the file."
            )
            yield finding("FILE_CORRUPT", message)
    elif pixels.fragments is None or pixels.fragments < frame_count(instance):
        count, held = frame_count(instance), pixels.fragments or 0
        yield finding("FILE_CORRUPT", f"the compressed pixel data hold {held} fragments for {count} frames.")


def _compression(instance: Instance) -> Iterator[Finding]:
    syntax = instance.syntax
    bits = _needed(instance, "BitsStored")
    if syntax not in KNOWN:
        yield finding(
            "TRANSFER_SYNTAX_UNSUPPORTED", "the transfer syntax is not one of grey images; send them uncompressed."
        )
        return
    if not can_decode(syntax, bits):
        yield finding(
            "DECODER_MISSING",
            f'no decoder for transfer syntax {syntax} is installed; run `pip install -U "monai-dis[dicom]"`.',
        )
    if syntax in LOSSY or text(instance.header, "LossyImageCompression") == "01":
        yield finding("LOSSY_COMPRESSION", "the images were compressed with loss.")


def _stored_values(instance: Instance) -> Iterator[Finding]:
    header = instance.header
    stored, allocated = _needed(instance, "BitsStored"), _needed(instance, "BitsAllocated")
    signed = integer(header, "PixelRepresentation")
    if signed is None:
        raise AttributeProblem("ATTRIBUTE_MISSING", "PixelRepresentation")
    if allocated not in (8, 16, 32) or stored > allocated or signed not in (0, 1):
        raise AttributeProblem("ATTRIBUTE_INVALID", "BitsStored" if stored > allocated else "BitsAllocated")
    if signed and stored < allocated:
        yield finding("PIXEL_BITS", f"signed values of {stored} bits in {allocated} are masked and sign-extended.")
    if raw_value(header, "PixelPaddingValue") is not None:
        yield finding("PIXEL_PADDING", "pixels with PixelPaddingValue are set to air.")
    if text(header, "Modality") == "CT" and text(header, "RescaleType") not in ("", "HU", "US"):
        raise AttributeProblem("ATTRIBUTE_INVALID", "RescaleType")


def _has_valid_texts(instance: Instance) -> bool:
    """Whether the bytes of names and descriptions are text in the character set that the header declares."""
    charset: Any = require("pydicom.charset")
    try:
        declared = raw_value(instance.header, "SpecificCharacterSet")
        with discreet():
            encodings = charset.convert_encodings(declared) if declared else ["ascii"]
            for tag in _TEXT_TAGS:
                element = instance.header.get_item(tag) if tag in instance.header else None
                if element is not None and isinstance(element.value, bytes):
                    _decode(element.value, encodings, charset)
    except (AttributeProblem, LookupError, ValueError):
        return False
    return True


def _decode(value: bytes, encodings: Sequence[str], charset: Any) -> None:
    """Decode strictly.

    Raises:
        ValueError: when the bytes are none of the encodings'.
    """
    if b"\x1b" not in value:
        # Without escape sequences the first character set holds (PS3.5 6.1.2.3).
        value.decode(encodings[0])
    elif "�" in charset.decode_bytes(value, list(encodings), {0x5E, 0x3D, 0x5C}):
        raise ValueError("undecodable")
