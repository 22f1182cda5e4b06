"""Networks of deep iterative segmentation: the pair of stages, refine networks around any backbone, gate and scorer."""

from __future__ import annotations

from monai_dis.networks.calibrated import CalibratedLogits
from monai_dis.networks.click_net import ClickNet
from monai_dis.networks.efficientnet_lite import EfficientNetLite0Encoder, from_imagenet
from monai_dis.networks.flip_averaged import FlipAveraged
from monai_dis.networks.gain_net import GainNet
from monai_dis.networks.gated import GatedRefiner, VoxelGate
from monai_dis.networks.lean_unet import LeanUNet
from monai_dis.networks.residual import ResidualRefiner
from monai_dis.networks.stacked import StackedRefiner
from monai_dis.networks.two_stage import TwoStageNet
from monai_dis.networks.warm_start import warm_start

__all__ = [
    "CalibratedLogits",
    "ClickNet",
    "EfficientNetLite0Encoder",
    "FlipAveraged",
    "GainNet",
    "GatedRefiner",
    "LeanUNet",
    "ResidualRefiner",
    "StackedRefiner",
    "TwoStageNet",
    "VoxelGate",
    "from_imagenet",
    "warm_start",
]
