"""Modality values of a volume: decoded plane by plane into place, each with its own rescale (I13, I14, I25)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis.checks.limits import Limits
from monai_dis.dicom.codecs import NATIVE
from monai_dis.dicom.decoding import decoded_frames
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.frames import Frame
from monai_dis.dicom.instance import Instance, open_data_set
from monai_dis.dicom.structure import StructureError
from monai_dis.dicom.values import integer, raw_value, text
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["read_volume"]

Plane = npt.NDArray[Any]

_AIR_HU = -1024.0


def read_volume(plan: VolumePlan, limits: Limits | None = None) -> npt.NDArray[np.float32]:
    """Read a volume's modality values.

    One file is decoded at a time; of a multi-frame file, one frame at a time where pydicom can.

    Args:
        plan: of an inspection that is still open.
        limits: the same as for the inspection.

    Returns:
        (columns, rows, slices) float32; padding is air in CT, elsewhere the smallest value of the volume.

    Raises:
        DicomError: when a file's pixels cannot be decoded, or changed since the inspection.
    """
    volume = np.empty(plan.shape, dtype=np.float32)
    # Slices lie together in memory while they are filled in, columns first as everywhere in this package.
    places = {(frame.instance.uid, frame.index): place for place, frame in zip(plan.places, plan.frames, strict=True)}
    by_file = sorted(
        range(len(plan.frames)), key=lambda place: (plan.frames[place].instance.uid, plan.frames[place].index)
    )
    padded: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for _, members in groupby((plan.frames[place] for place in by_file), key=lambda frame: frame.instance.uid):
        frames = list(members)
        for frame, plane, padding in _planes(frames, limits or Limits(), plan.shape):
            place = places[frame.instance.uid, frame.index]
            volume[:, :, place] = plane.T
            if padding is not None and padding.any():
                padded.append((place, padding))
    _fill_padding(volume, padded, plan)
    _fill_gaps(volume, plan)
    if not np.isfinite(volume).all():
        raise DicomError("the images hold values that are not finite numbers after rescaling; get the original images.")
    return volume


def _planes(
    frames: Sequence[Frame], limits: Limits, shape: tuple[int, int, int]
) -> Iterator[tuple[Frame, npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]]:
    """Modality values (rows, columns) of frames of one file, and which pixels are padding."""
    instance = frames[0].instance
    try:
        data = open_data_set(instance, limits)
    except StructureError as error:
        raise DicomError(f"{error.code}: {error.message}") from None
    decoded = decoded_frames(data, instance.syntax, [frame.index for frame in frames])
    for frame, stored in zip(frames, decoded, strict=True):
        if stored.shape != (shape[1], shape[0]):
            raise DicomError("FILE_CORRUPT: the decoded pixels are not of the size that the header says.")
        values = _sign_extended(stored, instance) if instance.syntax in NATIVE else stored
        yield frame, _modality_values(values, frame, data), _padding(values, data)


def _sign_extended(stored: Plane, instance: Instance) -> Plane:
    """Values of the stored bits alone: other bits may hold anything in old files (PS3.5 section 8.1.1)."""
    bits, allocated = (integer(instance.header, name) or 16 for name in ("BitsStored", "BitsAllocated"))
    if bits == allocated:
        return stored
    kept = stored.astype(np.int64) & ((1 << bits) - 1)
    if integer(instance.header, "PixelRepresentation"):
        kept = np.where(kept >= 1 << (bits - 1), kept - (1 << bits), kept)
    return kept


def _modality_values(stored: Plane, frame: Frame, data: Dataset) -> npt.NDArray[np.float32]:
    header = frame.instance.header
    if text(header, "PhotometricInterpretation") == "MONOCHROME1" and text(header, "Modality") in ("CR", "DX", "MG"):
        bits = integer(header, "BitsStored") or 16
        low = -(1 << (bits - 1)) if integer(header, "PixelRepresentation") else 0
        stored = (2 * low + (1 << bits) - 1) - stored.astype(np.int64)
    if "ModalityLUTSequence" in data:
        with discreet():
            return np.asarray(_modality_lut(stored, data), dtype=np.float32)
    # In double precision first: 12-digit slopes of PET would lose their last digits.
    return (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)


def _modality_lut(stored: Plane, data: Dataset) -> Plane:
    try:
        module = require("pydicom.pixels")
    except DicomError:
        module = require("pydicom.pixel_data_handlers.util")
    looked_up: Plane = module.apply_modality_lut(stored, data)
    return looked_up


def _padding(stored: Plane, data: Dataset) -> npt.NDArray[np.bool_] | None:
    """Pixels within PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    signed, bits = bool(integer(data, "PixelRepresentation")), integer(data, "BitsStored") or 16
    first = _stored_number(raw_value(data, "PixelPaddingValue"), signed, bits)
    if first is None:
        return None
    limit = _stored_number(raw_value(data, "PixelPaddingRangeLimit"), signed, bits)
    low, high = sorted((first, first if limit is None else limit))
    inside: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return inside


def _stored_number(value: Any, signed: bool, bits: int) -> int | None:
    """A value that is written with the representation of the pixels, whichever representation the header claims for it."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little", signed=signed)
    number = int(value)
    if signed and number >= 1 << (bits - 1):
        number -= 1 << (16 if number >= 1 << bits or bits == 16 else bits)
    return number


def _fill_padding(
    volume: npt.NDArray[np.float32], padded: Sequence[tuple[int, npt.NDArray[np.bool_]]], plan: VolumePlan
) -> None:
    if not padded:
        return
    for place, padding in padded:
        volume[:, :, place][padding.T] = np.nan
    fill = _AIR_HU
    if plan.modality != "CT":
        # One slice at a time: a volume of the planes that are there would be a copy.
        least = [value for place in plan.places if np.isfinite(value := np.fmin.reduce(volume[:, :, place], axis=None))]
        fill = float(min(least, default=0.0))
    for place, padding in padded:
        volume[:, :, place][padding.T] = fill


def _fill_gaps(volume: npt.NDArray[np.float32], plan: VolumePlan) -> None:
    """Missing slices for the network: linear between their neighbours. Nothing is written about them."""
    for below, above in pairwise(plan.places):
        for place in range(below + 1, above):
            share = (place - below) / (above - below)
            volume[:, :, place] = (1 - share) * volume[:, :, below] + share * volume[:, :, above]
