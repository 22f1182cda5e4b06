"""Labels as NIfTI or ``.seg.nrrd`` on the source grid, with names, codes and colours of the segments inside (O10).

What a ``.seg.nrrd`` holds is the segmentation format of 3D Slicer: a label volume whose header describes each segment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import Code, SegmentEntry
from monai_dis.data.atomic import atomic_path
from monai_dis.dicom.geometry import Vector, angle_degrees
from monai_dis.dicom.seg_object import tracking_identifier
from monai_dis.errors import DicomError, OutputError
from monai_dis.reports.palette import class_color

__all__ = ["flat_labels", "segment_records", "write_nifti", "write_seg_nrrd"]

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER, _UNKNOWN = 1, 0
_TERMINOLOGY = "Segmentation category and type - DICOM master list"
_ANATOMY = "Anatomic codes - DICOM master list"


def flat_labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Class indices in the smallest unsigned type; where classes overlap, the one with the higher index is seen."""
    if labels.ndim == 4:
        index = np.arange(1, labels.shape[0] + 1).reshape(-1, 1, 1, 1)
        labels = ((labels > 0) * index).max(axis=0)
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)


def segment_records(segments: Mapping[int, SegmentEntry]) -> list[dict[str, Any]]:
    """Names, codes and colours of segments in plain JSON types."""
    return [
        {
            "number": number,
            "label": segment.label,
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
        values: (columns, rows, slices); labels in an unsigned type, or float32.
        affine_lps: (4, 4) from (column, row, slice) to LPS coordinates in mm.
        path: ``.nii.gz``.
        segments: what the labels mean; written as JSON into a comment extension of the header.

    Raises:
        OutputError: when it cannot be written.
    """
    import nibabel

    affine = _RAS_FROM_LPS @ affine_lps
    nifti: Any = nibabel
    image = nifti.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    # A quaternion cannot say that slices are sheared: then the matrix alone places the volume.
    image.set_qform(affine, code=_UNKNOWN if _is_sheared(affine) else _SCANNER, strip_shears=True)
    if segments is not None:
        content = json.dumps({"segments": segment_records(segments)})
        image.header.extensions.append(nifti.nifti1.Nifti1Extension("comment", content.encode()))
    try:
        with atomic_path(path) as temporary:
            nifti.save(image, temporary)
    except OSError as error:
        raise _not_written(error) from error


def write_seg_nrrd(
    labels: npt.NDArray[Any], affine_lps: Vector, path: Path, segments: Mapping[int, SegmentEntry]
) -> None:
    """Write labels as ``.seg.nrrd``, by ITK.

    Args:
        labels: (columns, rows, slices) class indices in an unsigned type.
        affine_lps: (4, 4) from (column, row, slice) to LPS coordinates in mm.
        path: ``.seg.nrrd``.
        segments: what the labels mean.

    Raises:
        DicomError: when the slices are sheared, which ITK cannot write, or ITK is not installed.
        OutputError: when it cannot be written.
    """
    if _is_sheared(affine_lps):
        raise DicomError("the slices of a tilted gantry cannot be written as .seg.nrrd; choose --format seg or nifti.")
    try:
        import itk
    except ImportError as error:
        raise DicomError('writing .seg.nrrd needs ITK; install it with `pip install "monai-dis[itk]"`.') from error
    image = itk.image_from_array(np.ascontiguousarray(labels.T))
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in affine_lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine_lps[:3, :3] / spacing)))
    header = image.GetMetaDataDictionary()
    for key, value in _slicer_header(labels, segments).items():
        header.Set(key, itk.MetaDataObject[str].New(MetaDataObjectValue=value))
    try:
        with atomic_path(path) as temporary:
            itk.imwrite(image, str(temporary), compression=True)
    except RuntimeError as error:
        raise OutputError("a .seg.nrrd cannot be written; make room or choose another folder.") from error
    except OSError as error:
        raise _not_written(error) from error


def _slicer_header(labels: npt.NDArray[Any], segments: Mapping[int, SegmentEntry]) -> dict[str, str]:
    header = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for index, (number, segment) in enumerate(segments.items()):
        inside = np.argwhere(labels == number)
        extent = np.stack([inside.min(axis=0), inside.max(axis=0)], axis=1) if len(inside) else [[0, -1]] * 3
        color = segment.color or class_color(number)
        own = {
            "ID": tracking_identifier(segment, number),
            "Name": segment.label,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part / 255:.6g}" for part in color),
            "ColorAutoGenerated": "0",
            "Extent": " ".join(str(int(value)) for value in np.ravel(extent)),
            "LabelValue": str(number),
            "Layer": "0",
            "Tags": f"Segmentation.Status:completed|TerminologyEntry:{_terminology(segment)}|",
        }
        header.update({f"Segment{index}_{key}": value for key, value in own.items()})
    return header


def _terminology(segment: SegmentEntry) -> str:
    """A segment's codes as Slicer writes them; values cannot hold its separators."""

    def triple(code: Code | None) -> str:
        return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"

    codes = [segment.category, segment.type, segment.modifier]
    return "~".join([_TERMINOLOGY, *map(triple, codes), _ANATOMY, triple(segment.region), triple(None)])


def _is_sheared(affine: Vector) -> bool:
    axes = affine[:3, :3]
    return any(abs(90 - angle_degrees(axes[:, a], axes[:, b])) > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))


def _not_written(error: OSError) -> OutputError:
    reason = os.strerror(error.errno or 0)
    return OutputError(f"a result cannot be written ({reason}); make room or choose another folder.")
