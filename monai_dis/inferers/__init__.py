"""Deep iterative segmentation: levels, scores, selection, windows, mosaic, and the inferer that runs them."""

from __future__ import annotations

from monai_dis.inferers.budget import Budget
from monai_dis.inferers.drop_in import DropInInferer, drop_in_levels
from monai_dis.inferers.expected_gain import ExpectedGain
from monai_dis.inferers.inferer import IterativeInferer, iterative_inference
from monai_dis.inferers.level import Level
from monai_dis.inferers.merger import DisMerger
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.result import IterativeResult
from monai_dis.inferers.splitter import DisSplitter
from monai_dis.inferers.statistics import Statistics, WindowRecord

__all__ = [
    "Budget",
    "DisMerger",
    "DisSplitter",
    "DropInInferer",
    "ExpectedGain",
    "IterativeInferer",
    "IterativeResult",
    "Layer",
    "Level",
    "Mosaic",
    "Statistics",
    "WindowRecord",
    "drop_in_levels",
    "iterative_inference",
]
