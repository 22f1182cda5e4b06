"""Answers as files on the image's own grid: NIfTI, NRRD, ``.seg.nrrd`` of 3D Slicer, PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from monai_dis.bundle.dicom_metadata import Code, SegmentEntry
from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.data.grid import Grid
from monai_dis.data.image_files import segmentation_suffix
from monai_dis.data.nrrd import write_nrrd as write_nrrd_file
from monai_dis.data.writing import write_segmentation
from monai_dis.dicom.seg_nrrd import write_seg_nrrd

__all__ = ["affine_lps", "answer_suffix", "segment_entries", "write_answer", "write_nrrd"]

_TISSUE = Code("85756007", "SCT", "Tissue")


def answer_suffix(wanted: str, image: str | Path) -> str:
    """The suffix of an answer's file: what the viewer asked for, else that of the image; ``.seg.nrrd`` and the like are whole."""
    return wanted or segmentation_suffix(image)


def write_answer(
    labels: npt.NDArray[Any],
    image: MetaTensor,
    path: Path,
    segments: Mapping[int, SegmentEntry],
    *,
    dtype: str | None = None,
    compress: bool = False,
) -> None:
    """Write labels.

    Args:
        labels: (columns, rows[, slices]) class indices, or (segments, columns, rows, slices) of 0 and 1 for classes that overlap, which
            only ``.seg.nrrd`` holds.
        image: as it was read.
        path: its suffix says how; ``.nii``, ``.nii.gz``, ``.nrrd``, ``.seg.nrrd``, ``.png``, ``.mha``.
        segments: what the labels mean.
        dtype: ``"uint8"`` or ``"uint16"`` for ``.nrrd``.
        compress: whether an ``.nrrd`` is compressed.

    Raises:
        OutputError: when it cannot be written.
        DicomError: when the slices are sheared, which ``.seg.nrrd`` cannot hold.
    """
    if path.name.endswith(".seg.nrrd"):
        volume = labels[..., None] if labels.ndim == 2 else labels
        write_seg_nrrd(
            volume.astype(np.uint8 if volume.max(initial=0) < 256 else np.uint16), affine_lps(image), path, segments
        )
    elif path.suffix == ".nrrd":
        write_nrrd(labels, affine_lps(image), path, dtype=dtype, compress=compress)
    else:
        write_segmentation(torch.as_tensor(labels.astype(np.int16))[None], image, path)


def write_nrrd(
    labels: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    path: Path,
    *,
    dtype: str | None = None,
    compress: bool = False,
) -> None:
    """Write labels as plain ``.nrrd``; without compression its bytes are what OHIF puts over the images.

    Args:
        labels: (columns, rows[, slices]).
        affine: (4, 4) from voxels to LPS coordinates in mm.
        path: ``.nrrd``.
        dtype: ``"uint8"`` or ``"uint16"``; the smallest that holds the labels when not given.
        compress: gzip.
    """
    volume = labels[..., None] if labels.ndim == 2 else labels
    kind = dtype or ("uint8" if volume.max(initial=0) < 256 else "uint16")
    write_nrrd_file(volume.astype(kind), affine, path, compress=compress)


def affine_lps(image: MetaTensor) -> npt.NDArray[np.float64]:
    """(4, 4) from voxels of the file to LPS coordinates in mm; a picture lies in a plane of its own."""
    return swap_ras_lps(Grid.of(image).matrix)


def segment_entries(metadata: BundleMetadata, classes: Mapping[int, str]) -> dict[int, SegmentEntry]:
    """What the classes are: the bundle's codes, or plain tissue under the name of the class where it has none."""
    if metadata.dicom is not None and set(metadata.dicom.segments) == set(classes):
        return dict(metadata.dicom.segments)
    return {number: SegmentEntry(name, _TISSUE, _TISSUE) for number, name in classes.items()}
