"""What refining each window really gained, and the curve of expected gain that is fitted to it.

Letters in shapes: ``B`` batch, ``C`` classes, ``*spatial`` the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from monai_dis.errors import DataError
from monai_dis.inferers import ExpectedGain, IterativeResult
from monai_dis.inferers.grid import resample
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.score import probabilities

__all__ = ["WindowGain", "fit_expected_gain", "window_gains"]


@dataclass(frozen=True)
class WindowGain:
    """One refined window.

    Attributes:
        image: index in the batch.
        level: sparse level.
        score: score when it was chosen.
        gain: by how much the mean squared error in the window fell; negative where refinement did harm.
    """

    image: int
    level: int
    score: float
    gain: float


def window_gains(result: IterativeResult, truth: Tensor) -> list[WindowGain]:
    """Compare the answer before and after a level in each of its windows.

    Where windows of a level overlap, each is credited with what all of them made of the ground.

    Args:
        result: of a run.
        truth: class indices ``(B, 1, *spatial)``, or ``(B, C, *spatial)`` of 0 and 1 for overlapping classes.
    """
    mosaic = result.mosaic
    gains: list[WindowGain] = []
    for level in sorted({record.level for record in result.windows}):
        grid = mosaic.grid_size(level)
        better = _error(mosaic.on(grid, level - 1), truth, mosaic) - _error(mosaic.grid(level), truth, mosaic)
        for record in (r for r in result.windows if r.level == level):
            inside = tuple(
                slice(max(0, c), min(n, c + r))
                for c, r, n in zip(record.grid_corner, record.grid_size, grid, strict=True)
            )
            gains.append(WindowGain(record.image, level, record.score, float(better[record.image][inside].mean())))
    return gains


def fit_expected_gain(gains: Sequence[WindowGain], points: int = 16) -> ExpectedGain:
    """The curve that never falls and is nearest to what windows gained: isotonic regression, thinned to a few points.

    Its floor, for the budget ``"auto"``, is what the average window is expected to gain: how much of a window can be put right
    differs from task to task and with the size of windows, so that no one number would be worth paying for everywhere.

    Args:
        gains: windows of one level, of images that the networks were not trained on.
        points: most points that the curve has.

    Raises:
        DataError: when there are no windows.
    """
    from scipy.optimize import isotonic_regression

    if not gains:
        raise DataError(
            "expected gain is fitted to windows that were refined; there are none, so give a larger budget."
        )
    scores, firsts = np.unique([g.score for g in gains], return_inverse=True)
    count = np.bincount(firsts)
    mean = np.bincount(firsts, weights=[g.gain for g in gains]) / count
    fitted = isotonic_regression(mean, weights=count).x
    # Points at equal shares of the windows; between them the curve is linear.
    at = np.unique(np.searchsorted(np.cumsum(count) / count.sum(), np.linspace(0, 1, points)).clip(max=len(scores) - 1))
    curve = ExpectedGain(scores[at].tolist(), np.maximum.accumulate(fitted[at]).tolist())
    average = float(np.mean([max(curve.of(g.score), 0.0) for g in gains]))
    return replace(curve, floor=average) if average > 0 else curve


def _error(logits: Tensor, truth: Tensor, mosaic: Mosaic) -> Tensor:
    """Squared error of every voxel, (B, *grid), summed over classes; halved for exclusive ones, which err in pairs."""
    p = probabilities(logits, mosaic.activation)
    channels = p.shape[1]
    exclusive = mosaic.activation == "softmax"
    planes = (
        truth
        if truth.shape[1] == channels
        else torch.cat([(truth == (c if exclusive else c + 1)) for c in range(channels)], 1)
    )
    target = resample(planes.to(p.dtype), tuple(p.shape[2:]))
    return (p - target).square().sum(1) * (0.5 if exclusive else 1.0)
