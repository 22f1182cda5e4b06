"""The objects of a DICOM result on its source grid: of a volume in mL, of a photograph in mm2 where its header gives a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import DicomEntry
from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.dicom.loaded_study import LoadedStudy
from monai_dis.dicom.predicting import VolumeAnswer
from monai_dis.pipeline.objects import Ground, Objects, find_objects, layers_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["objects_of_volume"]


def objects_of_volume(answer: VolumeAnswer, loaded: LoadedStudy, entry: DicomEntry) -> Objects:
    """The objects of the answer for a study.

    Args:
        answer: on the source grid.
        loaded: the study.
        entry: the names of the segments.
    """
    classes = {number: segment.label for number, segment in entry.segments.items()}
    labels, refined, entropy = answer.labels, answer.refined, answer.uncertainty
    layered = labels if labels.ndim == 4 else labels[None]
    affine = np.asarray(swap_ras_lps(loaded.plan.affine_lps), dtype=np.float64)
    if not loaded.plan.photograph:
        ground = Ground(affine, None, lambda places: bool(refined[tuple(places.T)].any()), entropy)
        return find_objects(layers_of(layered, classes, len(classes) + 1), ground)
    # A photograph is one plane.
    flat: npt.NDArray[np.bool_] = refined[..., 0]
    ground = Ground(
        None,
        _pixel_mm2(loaded.source),
        lambda places: bool(flat[tuple(places.T)].any()),
        None if entropy is None else entropy[..., 0],
    )
    return find_objects(layers_of(layered[..., 0], classes, len(classes) + 1), ground)


def _pixel_mm2(source: Dataset) -> float | None:
    """Of a photograph, whose header often says nothing of it."""
    spacing = source.get("PixelSpacing")
    return float(spacing[0]) * float(spacing[1]) if spacing and len(spacing) == 2 else None
