"""Labels as files on the source grid: how classes are stored in them, and NIfTI with names, codes and colours inside (O10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import SegmentEntry
from monai_dis.checks.angles import angle_degrees
from monai_dis.data.atomic import written_whole
from monai_dis.dicom.geometry import Vector
from monai_dis.reports.palette import class_color

__all__ = ["file_labels", "is_sheared", "mask_of", "segment_records", "stored_as", "write_nifti"]

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER, _UNKNOWN = 1, 0


def file_labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels in the smallest unsigned type that holds them.

    Args:
        labels: (columns, rows, slices) class indices, or (segments, columns, rows, slices) of 0 and 1 for classes that overlap;
            these stay apart, for a voxel of several classes has no one index.
    """
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)


def mask_of(labels: npt.NDArray[Any], number: int) -> npt.NDArray[np.bool_]:
    """(columns, rows, slices) where a segment is, of either form of labels."""
    mask: npt.NDArray[np.bool_] = labels[number - 1] > 0 if labels.ndim == 4 else labels == number
    return mask


def stored_as(labels: npt.NDArray[Any], number: int) -> dict[str, int]:
    """The value that marks a segment in a label file, and the layer in which it lies; from 0, of one where no classes overlap."""
    return {"value": 1, "layer": number - 1} if labels.ndim == 4 else {"value": number, "layer": 0}


def segment_records(labels: npt.NDArray[Any], segments: Mapping[int, SegmentEntry]) -> list[dict[str, Any]]:
    """Names, codes and colours of segments, and how a file of these labels stores them, in plain JSON types."""
    return [
        {
            "number": number,
            "label": segment.label,
            **stored_as(labels, number),
            "category": vars(segment.category),
            "type": vars(segment.type),
            **({"modifier": vars(segment.modifier)} if segment.modifier else {}),
            **({"region": vars(segment.region)} if segment.region else {}),
            "color": list(segment.color or class_color(number)),
        }
        for number, segment in segments.items()
    ]


def write_nifti(
    values: npt.NDArray[Any], affine_lps: Vector, path: Path, segments: Mapping[int, SegmentEntry] | None = None
) -> None:
    """Write a volume as NIfTI.

    Args:
        values: (columns, rows, slices) in an unsigned type or float32; or (segments, columns, rows, slices) of 0 and 1 for classes
            that overlap, which become the fourth axis of the file.
        affine_lps: (4, 4) from (column, row, slice) to LPS coordinates in mm.
        path: ``.nii.gz``.
        segments: what the labels mean; written as JSON into a comment extension of the header.

    Raises:
        OutputError: when it cannot be written.
    """
    import nibabel

    affine = _RAS_FROM_LPS @ affine_lps
    nifti: Any = nibabel
    image = nifti.Nifti1Image(np.moveaxis(values, 0, -1) if values.ndim == 4 else values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    # A quaternion cannot say that slices are sheared: then the matrix alone places the volume.
    image.set_qform(affine, code=_UNKNOWN if is_sheared(affine) else _SCANNER, strip_shears=True)
    if segments is not None:
        content = json.dumps({"segments": segment_records(values, segments)})
        image.header.extensions.append(nifti.nifti1.Nifti1Extension("comment", content.encode()))
    with written_whole(path) as temporary:
        nifti.save(image, temporary)


def is_sheared(affine: Vector) -> bool:
    """Whether two axes of a grid are not at a right angle."""
    axes = affine[:3, :3]
    return any(abs(90 - angle_degrees(axes[:, a], axes[:, b])) > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))
