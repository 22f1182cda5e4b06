"""Transforms of both stages that MONAI lacks."""

from monai_dis.transforms.axis_spacing import AxisResample, AxisSpacingd
from monai_dis.transforms.centre_weights import CentreWeightsd
from monai_dis.transforms.rand_window import RandWindowd
from monai_dis.transforms.resample_to_grid import ResampleToGridd

__all__ = ["AxisResample", "AxisSpacingd", "CentreWeightsd", "RandWindowd", "ResampleToGridd"]
