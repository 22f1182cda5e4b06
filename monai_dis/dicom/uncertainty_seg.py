"""What was refined and what stays uncertain, as a fractional SEG in a series of its own (O11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import Code, SegmentEntry
from monai_dis.dicom.presentation import Presentation
from monai_dis.dicom.seg_object import SegIdentity, assemble_seg, segment_description
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["UNCERTAINTY_SEGMENTS", "make_uncertainty_seg"]

_CATEGORY = Code("309825002", "SCT", "Spatial and Relational Concept")

#: No standard terminology has words for either, so that their types are of a private scheme.
UNCERTAINTY_SEGMENTS = {
    1: SegmentEntry("Refined", _CATEGORY, Code("refined", "99MONAIDIS", "Refined at a finer level"), color=(255, 255, 255)),
    2: SegmentEntry("Uncertain", _CATEGORY, Code("uncertain", "99MONAIDIS", "Uncertain after refinement"), color=(255, 200, 0)),
}  # fmt: skip


def make_uncertainty_seg(
    refined: npt.NDArray[np.bool_],
    uncertainty: npt.NDArray[np.float32],
    plan: VolumePlan,
    source: Dataset,
    identity: ResultIdentity,
    presentation: Presentation | None = None,
) -> Dataset:
    """Make a SEG of two segments: where windows were refined (0 or 1), and how uncertain the answer stays (0 to 1, in 255 steps).

    Args:
        refined: (columns, rows, slices), on the source grid.
        uncertainty: (columns, rows, slices) from 0, certain, to 1, no better than chance.
        plan: the source volume.
        source: whole header of its first image.
        identity: of the result that it belongs to.
        presentation: descriptions and series numbers.
    """
    presentation = presentation or Presentation()
    frames: npt.NDArray[Any] = np.stack([refined.T.astype(np.float32), np.clip(uncertainty.T, 0, 1)], axis=-1)
    return assemble_seg(
        frames,
        plan,
        source,
        [
            segment_description(number, segment, identity, kind="uncertainty")
            for number, segment in UNCERTAINTY_SEGMENTS.items()
        ],
        {number: segment.color for number, segment in UNCERTAINTY_SEGMENTS.items() if segment.color},
        SegIdentity(identity, "uncertainty", presentation.uncertainty_series_number),
        presentation,
        segmentation_type="FRACTIONAL",
        label="UNCERTAINTY",
    )
