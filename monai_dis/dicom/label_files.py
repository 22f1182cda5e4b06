"""Labels as files on the source grid: how classes are stored in them, and their names, codes and colours inside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import SegmentEntry
from monai_dis.reports.palette import class_color

__all__ = ["file_labels", "mask_of", "nifti_comment", "segment_records", "stored_as", "stored_values"]


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


def nifti_comment(labels: npt.NDArray[Any], segments: Mapping[int, SegmentEntry]) -> str:
    """What labels mean, as JSON, which a comment extension of NIfTI holds."""
    return json.dumps({"segments": segment_records(labels, segments)})


def stored_values(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels with the layers of classes that overlap along the last axis, where NIfTI has them."""
    return np.moveaxis(labels, 0, -1) if labels.ndim == 4 else labels
