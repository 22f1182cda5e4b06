"""Measures of a segmentation, of its calibration, and of a choice of windows."""

from monai_dis.metrics.calibration import expected_calibration_error
from monai_dis.metrics.gain import gain_recall
from monai_dis.metrics.segmentation import METRICS, mean_metrics, segmentation_metrics

__all__ = ["METRICS", "expected_calibration_error", "gain_recall", "mean_metrics", "segmentation_metrics"]
