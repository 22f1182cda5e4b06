"""A DICOM series at the reading desk: read strictly, as a file for viewers, and with its answer as SEG on its own planes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from monai_dis.bundle.dicom_metadata import DicomEntry, SegmentEntry
from monai_dis.data.atomic import atomic_path
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.label_files import write_nifti
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.loaded_study import LoadedStudy, load_study, volume_of
from monai_dis.dicom.predicting import as_image
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.writing import write_object
from monai_dis.errors import DicomError

__all__ = ["read_series", "series_as_nifti", "series_image", "write_series_seg"]


def read_series(folder: Path, limits: Limits | None = None) -> LoadedStudy:
    """Read the one volume of a folder.

    Raises:
        DicomError: when it is rejected, with the codes of what was found; or when it is a photograph.
    """
    limits, since = limits or Limits(), time.perf_counter()
    with inspect(folder, Target(), limits=limits) as found:
        plan = volume_of(found)
        if plan.photograph:
            raise DicomError("a DICOM photograph is not read here; segment it with `monai-dis segment`.")
        return load_study(plan, found, limits, since)


def series_image(folder: Path) -> MetaTensor:
    """The volume of a series, (1, columns, rows, slices), as MONAI's readers give it; see `read_series`."""
    loaded = read_series(folder)
    return as_image(loaded.values, loaded.plan.affine_lps)


def series_as_nifti(folder: Path, path: Path) -> None:
    """Write the volume of a series as NIfTI, on its own voxels, for viewers that load a file."""
    loaded = read_series(folder)
    write_nifti(loaded.values.astype(np.float32), loaded.plan.affine_lps, path)


def write_series_seg(
    folder: Path,
    labels: npt.NDArray[Any],
    segments: Mapping[int, SegmentEntry],
    path: Path,
    *,
    name: str,
    version: str,
    weights: str,
    by_reader: bool = False,
) -> None:
    """Write labels as DICOM SEG on the planes of a series.

    Args:
        folder: with the series.
        labels: (columns, rows, slices) class indices.
        segments: what they are, numbered from 1.
        path: of the file.
        name: of the bundle, or of whoever made the labels.
        version: of the bundle.
        weights: SHA-256 of the weights.
        by_reader: whether a reader had a hand in it, by clicks or by corrections.

    Raises:
        DicomError: when the labels do not fit the series.
    """
    limits = Limits()
    with inspect(folder, Target(), limits=limits) as found:
        plan = volume_of(found)
        source = read_first_header(plan, limits)
    digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    identity = ResultIdentity(tuple(each.uid for each in plan.instances), name, version, weights, digest)
    entry = DicomEntry(modalities=(), segments=segments)
    seg = make_seg(labels.astype(np.uint8), plan, source, entry, identity)
    if by_reader:
        for item in seg.SegmentSequence:
            item.SegmentAlgorithmType = "SEMIAUTOMATIC"
    with atomic_path(path) as temporary:
        write_object(seg, temporary)
