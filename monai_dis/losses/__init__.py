"""Losses that MONAI lacks."""

from monai_dis.losses.summed import SummedLoss
from monai_dis.losses.upsampled import UpsampledLoss

__all__ = ["SummedLoss", "UpsampledLoss"]
