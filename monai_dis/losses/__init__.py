"""Losses that MONAI lacks."""

from monai_dis.losses.average_precision import AveragePrecisionLoss
from monai_dis.losses.lovasz import LovaszHingeLoss
from monai_dis.losses.summed import SummedLoss
from monai_dis.losses.upsampled import UpsampledLoss

__all__ = ["AveragePrecisionLoss", "LovaszHingeLoss", "SummedLoss", "UpsampledLoss"]
