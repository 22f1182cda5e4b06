"""The volume that a segmentation would receive: its planes in order, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monai_dis.data.coordinates import angle_degrees
from monai_dis.dicom.frames import Frame
from monai_dis.dicom.geometry import ANGLE_TOLERANCE_DEGREES, Vector, affine_of, normal_of, places_of, stack_of
from monai_dis.dicom.instance import Instance
from monai_dis.dicom.values import integer, text

__all__ = ["VolumePlan", "plan_volume"]

_ROUND = 9


@dataclass(frozen=True)
class VolumePlan:
    """A volume that can be read: its planes in order, and where they lie.

    Attributes:
        frames: in order along the normal.
        affine_lps: (4, 4) from (column, row, slice) to patient coordinates in mm; sheared for a tilted stack.
        missing: slices that no file holds, where a site lets a gap pass; they are interpolated for the network, not assessed.
        photograph: whether it is a photograph in colour, which has no place in space: its affine says how large pixels are, if that.
    """

    frames: tuple[Frame, ...] = field(repr=False)
    affine_lps: Vector
    missing: tuple[int, ...] = ()
    photograph: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices, missing ones included."""
        header = self.frames[0].instance.header
        return integer(header, "Columns") or 0, integer(header, "Rows") or 0, len(self.frames) + len(self.missing)

    @property
    def places(self) -> tuple[int, ...]:
        """Slice number of each frame, from 0."""
        return tuple(sorted(set(range(self.shape[2])) - set(self.missing)))

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The files, each once, in the order of their planes."""
        return tuple({frame.instance.uid: frame.instance for frame in self.frames}.values())

    @property
    def modality(self) -> str:
        """Value of Modality."""
        return text(self.frames[0].instance.header, "Modality")

    @property
    def sheared(self) -> bool:
        """Whether slices are not stacked along their normal."""
        leaning = angle_degrees(self.affine_lps[:3, 2], normal_of(self.frames[0]))
        return len(self.frames) > 1 and leaning > ANGLE_TOLERANCE_DEGREES

    def to_dict(self) -> dict[str, Any]:
        """Size and place in plain JSON types."""
        affine = None if self.photograph else (np.round(self.affine_lps, _ROUND) + 0.0).tolist()
        return {"shape_columns_rows_slices": list(self.shape), "affine_lps_mm": affine}


def plan_volume(frames: Sequence[Frame]) -> VolumePlan:
    """Put planes in one place each in order, on an even grid from the first to the last."""
    stack = stack_of(frames)
    places = places_of(stack) or tuple(range(len(frames)))
    missing = tuple(sorted(set(range(places[-1] + 1)) - set(places)))
    return VolumePlan(stack.frames, affine_of(stack.frames, len(frames) + len(missing)), missing)
