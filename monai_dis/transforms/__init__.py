"""Transforms of both stages that MONAI lacks."""

from monai_dis.transforms.axis_spacing import AxisResample, AxisSpacingd
from monai_dis.transforms.canonical_scale import ScaleFieldOfView, ScaleFieldOfViewd
from monai_dis.transforms.centre_weights import CentreWeightsd
from monai_dis.transforms.field_of_view import FieldOfView, find_field_of_view
from monai_dis.transforms.rand_window import RandWindowd
from monai_dis.transforms.resample_to_grid import ResampleToGridd

__all__ = [
    "AxisResample",
    "AxisSpacingd",
    "CentreWeightsd",
    "FieldOfView",
    "RandWindowd",
    "ResampleToGridd",
    "ScaleFieldOfView",
    "ScaleFieldOfViewd",
    "find_field_of_view",
]
