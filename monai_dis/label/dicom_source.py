"""A DICOM series or photograph at the reading desk: read strictly, as a file for viewers, and with its answer as SEG on its own planes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from PIL import Image

from monai_dis.bundle.dicom_metadata import DicomEntry, SegmentEntry
from monai_dis.checks.limits import Limits
from monai_dis.data.atomic import atomic_path
from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.data.nifti_output import write_nifti
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.loaded_study import LoadedStudy, load_study, volume_of
from monai_dis.dicom.predicting import as_image, as_photograph
from monai_dis.dicom.seg import make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.writing import write_object

__all__ = ["PHOTOGRAPH_SUFFIX", "VOLUME_SUFFIX", "read_series", "series_image", "write_series_file", "write_series_seg"]

VOLUME_SUFFIX, PHOTOGRAPH_SUFFIX = ".nii.gz", ".png"


#: A volume, or a photograph in colour.
_ANYTHING = Target(colour=True)


def read_series(folder: Path, limits: Limits | None = None) -> LoadedStudy:
    """Read the one volume, or the one photograph, of a folder.

    Raises:
        DicomError: when it is rejected, with the codes of what was found.
    """
    limits, since = limits or Limits(), time.perf_counter()
    with inspect(folder, _ANYTHING, limits=limits) as found:
        return load_study(volume_of(found), found, limits, since)


def series_image(folder: Path, limits: Limits | None = None) -> MetaTensor:
    """The volume of a series, (1, columns, rows, slices), or its photograph, (3, columns, rows), as MONAI's readers give it."""
    loaded = read_series(folder, limits)
    return (as_photograph if loaded.plan.photograph else as_image)(loaded.values, loaded.plan.affine_lps)


def write_series_file(folder: Path, place: Path, name: str, limits: Limits | None = None) -> Path:
    """Write the image of a series for viewers that load a file: a volume as NIfTI on its own voxels, a photograph as PNG.

    Args:
        folder: with the series.
        place: folder of the file.
        name: of the file, without a suffix.
        limits: sizes beyond which the series is refused.

    Returns:
        the file.
    """
    loaded = read_series(folder, limits)
    if not loaded.plan.photograph:
        path = place / f"{name}{VOLUME_SUFFIX}"
        write_nifti(loaded.values.astype(np.float32), swap_ras_lps(loaded.plan.affine_lps), path, units="mm")
        return path
    path = place / f"{name}{PHOTOGRAPH_SUFFIX}"
    pixels = np.rint(loaded.values[..., 0]).astype(np.uint8).transpose(2, 1, 0)
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)
    return path


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
    limits: Limits | None = None,
) -> None:
    """Write labels as DICOM SEG on the planes of a series.

    Args:
        folder: with the series.
        labels: (columns, rows, slices) class indices; (columns, rows) of a photograph.
        segments: what they are, numbered from 1.
        path: of the file.
        name: of the bundle, or of whoever made the labels.
        version: of the bundle.
        weights: SHA-256 of the weights.
        by_reader: whether a reader had a hand in it, by clicks or by corrections.
        limits: sizes beyond which the series is refused.

    Raises:
        DicomError: when the labels do not fit the series.
    """
    limits = limits or Limits()
    with inspect(folder, _ANYTHING, limits=limits) as found:
        plan = volume_of(found)
        source = read_first_header(plan, limits)
    labels = labels[..., None] if labels.ndim == 2 else labels
    digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    identity = ResultIdentity(tuple(each.uid for each in plan.instances), name, version, weights, digest)
    entry = DicomEntry(modalities=(), segments=segments)
    seg = make_seg(labels.astype(np.uint8), plan, source, entry, identity)
    if by_reader:
        for item in seg.SegmentSequence:
            item.SegmentAlgorithmType = "SEMIAUTOMATIC"
    with atomic_path(path) as temporary:
        write_object(seg, temporary)
