"""Photographs in colour, such as ophthalmic and dermoscopic ones: images without a place in space, each by itself (I18).

Colour is brought to red, green and blue, 0 to 255, as a picture file has it (PS3.3 C.7.6.3.1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis.checks.findings import Finding, Policy, finding
from monai_dis.checks.limits import Limits
from monai_dis.dicom.codecs import Decoder, decoder_of
from monai_dis.dicom.decoding import decoded_frames
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import Frame, frame_count
from monai_dis.dicom.instance import Instance, open_data_set
from monai_dis.dicom.structure import StructureError
from monai_dis.dicom.values import AttributeProblem, integer, numbers, text
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["is_coloured", "plan_photograph", "read_photograph"]

_PALETTE = "PALETTE COLOR"
_COLOURED = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", _PALETTE})
_UNKNOWN_SPACING = (1.0, 1.0)  # pixels, not mm: nothing that is written says otherwise


def is_coloured(image: Instance) -> bool:
    """Whether an image is in colour, by its photometric interpretation."""
    return text(image.header, "PhotometricInterpretation") in _COLOURED


def plan_photograph(
    images: Sequence[Instance], selection: Mapping[str, str]
) -> tuple[VolumePlan | None, list[Finding]]:
    """The one photograph of a series.

    Args:
        images: of the series, all in colour.
        selection: ``InstanceNumber`` chooses one of several.

    Returns:
        the photograph as a volume of one slice; None when there are several; and findings.
    """
    findings: list[Finding] = []
    chosen = list(images)
    if (wanted := selection.get("InstanceNumber")) is not None:
        chosen = [image for image in images if text(image.header, "InstanceNumber") == wanted]
        message = f"{len(chosen)} of {len(images)} photographs are selected by InstanceNumber."
        findings.append(finding("VOLUME_MULTIPLE", message, len(images), Policy.FIX if chosen else None))
    if not chosen:
        return None, findings
    try:
        count = sum(frame_count(image) for image in chosen)
        if count > 1:
            known = ", ".join(text(image.header, "InstanceNumber") or "-" for image in chosen[:8])
            message = f"the series holds {count} photographs (InstanceNumber {known}); choose one with --select InstanceNumber=N."
            return None, [*findings, finding("VOLUME_MULTIPLE", message, count)]
        image = chosen[0]
        spacing = numbers(image.header, "PixelSpacing", 2) or _UNKNOWN_SPACING
        if min(spacing) <= 0:
            raise AttributeProblem("ATTRIBUTE_INVALID", "PixelSpacing")
    except AttributeProblem as problem:
        return None, [*findings, finding(problem.code, f"{problem.keyword} is impossible; get the original images.")]
    plane = Frame(image, 0, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), spacing, 1.0, 0.0, None)
    return VolumePlan((plane,), np.diag([spacing[1], spacing[0], 1.0, 1.0]), photograph=True), findings


def read_photograph(plan: VolumePlan, limits: Limits | None = None) -> npt.NDArray[np.float32]:
    """Read a photograph.

    Args:
        plan: of an inspection that is still open.
        limits: the same as for the inspection.

    Returns:
        (3, columns, rows, 1) float32, red, green and blue from 0 to 255.

    Raises:
        DicomError: when its pixels cannot be decoded, or the file changed since the inspection.
    """
    instance = plan.frames[0].instance
    try:
        data = open_data_set(instance, limits or Limits())
    except StructureError as error:
        raise DicomError(f"{error.code}: {error.message}") from None
    try:
        with discreet():
            colours, largest = _decoded(data, instance.syntax)
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise anything for damaged data, and their messages may quote it.
        raise DicomError(
            f"FILE_CORRUPT: the pixels of a file cannot be decoded ({type(error).__name__}); get a new copy of it."
        ) from None
    if colours.shape != (plan.shape[1], plan.shape[0], 3):
        raise DicomError("FILE_CORRUPT: the decoded pixels are not of the size that the header says.")
    scaled = colours.astype(np.float32) * np.float32(255 / largest)
    return np.ascontiguousarray(scaled.transpose(2, 1, 0)[..., None])


def _decoded(data: Dataset, syntax: str) -> tuple[npt.NDArray[Any], int]:
    """(rows, columns, 3) red, green, blue, and the largest value that a colour can have."""
    meaning = str(data.PhotometricInterpretation)
    if meaning == "RGB" and decoder_of(syntax, integer(data, "BitsStored") or 8) is Decoder.GDCM:
        return next(decoded_frames(data, syntax, [0])), (1 << (integer(data, "BitsStored") or 8)) - 1
    three = int(require("pydicom").__version__.split(".")[0]) >= 3
    handlers = require("pydicom.pixels" if three else "pydicom.pixel_data_handlers.util")
    if meaning == _PALETTE:
        stored: npt.NDArray[Any] = data.pixel_array
        coloured = handlers.apply_color_lut(stored, data)
        return coloured[..., :3], np.iinfo(coloured.dtype).max
    largest = (1 << (integer(data, "BitsStored") or 8)) - 1
    if three:
        return handlers.pixel_array(data, raw=False), largest  # which turns YBR into RGB
    stored = data.pixel_array
    ybr = meaning in ("YBR_FULL", "YBR_FULL_422")
    return handlers.convert_color_space(stored, meaning, "RGB") if ybr else stored, largest
