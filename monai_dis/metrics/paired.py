"""Two ways to segment the same images, compared image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

__all__ = ["PairedComparison", "compare_paired"]


@dataclass(frozen=True)
class PairedComparison:
    """Differences between two ways, the second less the first.

    Attributes:
        images: number of images where both have a value.
        difference: mean difference.
        low: lower end of the interval that holds the mean difference with 95 % confidence.
        high: its upper end.
        better: number of images where the second is larger.
        p_value: two-sided Wilcoxon signed-rank test; nan where no image differs.
    """

    images: int
    difference: float
    low: float
    high: float
    better: int
    p_value: float


def compare_paired(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> PairedComparison:
    """Compare a measure of the same images in the same order; images where either is nan are left out.

    The interval is the bias-corrected and accelerated bootstrap (B. Efron, 1987), the test that of F. Wilcoxon (1945), both
    from SciPy.

    Args:
        first: one value per image.
        second: one value per image.
        seed: of the resampling.

    Raises:
        ValueError: when the two differ in length.

    Example:
        >>> compare_paired([0.5, 0.6, 0.7], [0.6, 0.7, 0.8]).better
        3
    """
    from scipy import stats

    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} values cannot be paired; give one for each image.")
    differences = (b - a)[np.isfinite(a) & np.isfinite(b)]
    mean = float(differences.mean()) if differences.size else nan
    low = high = mean
    # Equal differences leave nothing to resample: the interval is a point.
    if differences.size > 1 and np.ptp(differences) > 0:
        interval = stats.bootstrap((differences,), np.mean, rng=np.random.default_rng(seed)).confidence_interval
        low, high = float(interval.low), float(interval.high)
    p_value = float(stats.wilcoxon(differences).pvalue) if np.any(differences != 0) else nan
    return PairedComparison(differences.size, mean, low, high, int((differences > 0).sum()), p_value)
