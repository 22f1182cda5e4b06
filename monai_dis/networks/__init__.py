"""Networks of deep iterative segmentation: the pair of stages, and a residual refine network around any backbone."""

from __future__ import annotations

from monai_dis.networks.residual import ResidualRefiner
from monai_dis.networks.two_stage import TwoStageNet

__all__ = ["ResidualRefiner", "TwoStageNet"]
