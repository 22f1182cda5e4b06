"""Measures of a segmentation, of its calibration, of lesions found and missed, and of a choice of windows."""

from monai_dis.metrics.calibration import expected_calibration_error
from monai_dis.metrics.free_response import FreeResponse, FreeResponseCurve
from monai_dis.metrics.gain import gain_recall
from monai_dis.metrics.lesions import LesionMatch, LesionScore, LesionScores, match_lesions
from monai_dis.metrics.oracle_recall import OracleRecall, oracle_recall
from monai_dis.metrics.paired import PairedComparison, compare_paired
from monai_dis.metrics.pooled_dice import PooledDice
from monai_dis.metrics.precision_recall import PrecisionRecall, PrecisionRecallCurve
from monai_dis.metrics.segmentation import METRICS, mean_metrics, overlapping_metrics, segmentation_metrics

__all__ = [
    "METRICS",
    "FreeResponse",
    "FreeResponseCurve",
    "LesionMatch",
    "LesionScore",
    "LesionScores",
    "OracleRecall",
    "PairedComparison",
    "PooledDice",
    "PrecisionRecall",
    "PrecisionRecallCurve",
    "compare_paired",
    "expected_calibration_error",
    "gain_recall",
    "match_lesions",
    "mean_metrics",
    "oracle_recall",
    "overlapping_metrics",
    "segmentation_metrics",
]
