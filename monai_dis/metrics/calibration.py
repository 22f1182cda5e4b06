"""Calibration: whether a probability of 0.8 is right in 8 of 10 pixels, on which the choice of windows relies.

``B`` batch, ``C`` channel, ``*spatial`` two or three axes.
"""

from __future__ import annotations

import torch

__all__ = ["expected_calibration_error"]


def expected_calibration_error(probabilities: torch.Tensor, truth: torch.Tensor, *, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and share of hits, over bins of equal width.

    For one channel the probability itself is compared with the share of foreground (which is what MONAI's
    ``CalibrationErrorMetric``, of MONAI 1.6, gives for it). For several, the probability of the likeliest class is
    compared with the share of pixels where it is right, as in C. Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017.

    Args:
        probabilities: ``(B, C, *spatial)``, after sigmoid (one channel) or softmax.
        truth: ``(B, 1, *spatial)`` class indices.
        bins: number of bins between 0 and 1; a bin holds its upper edge, not its lower one.

    Returns:
        0 (calibrated) to 1.

    Raises:
        ValueError: when the shapes do not fit or ``bins`` is below 1.

    Example:
        >>> expected_calibration_error(torch.full((1, 1, 2, 2), 0.75), torch.tensor([[[[1, 1], [1, 0]]]]))
        0.0
    """
    if truth.shape != (probabilities.shape[0], 1, *probabilities.shape[2:]):
        raise ValueError(
            f"truth of shape {tuple(truth.shape)} does not fit probabilities {tuple(probabilities.shape)}."
        )
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, not {bins}.")
    if probabilities.shape[1] == 1:
        confidence, hit = probabilities, truth > 0
    else:
        confidence, winner = probabilities.max(dim=1, keepdim=True)
        hit = winner == truth
    confidence, hit = confidence.flatten().double(), hit.flatten().double()
    index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidence.device).scatter_add_(0, index, confidence - hit)
    return float(gaps.abs().sum() / len(confidence))
