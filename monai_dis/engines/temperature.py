"""Temperature scaling: one number that makes the probabilities of classes that exclude each other mean what they say.

Letters in shapes: ``C`` classes, ``*grid`` the coarse grid, ``N`` voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_dis.engines.stage_files import export_weights
from monai_dis.engines.stage_maps import class_shares, write_maps
from monai_dis.errors import DataError
from monai_dis.networks import CalibratedLogits

__all__ = ["calibrate_temperature", "fit_scale"]

_VOXELS = 50_000  # of a case: one number is fitted, and memory stays small however many cases there are
_LEAST = 0.01


def calibrate_temperature(
    network: CalibratedLogits, items: Iterable[Mapping[str, Any]], folder: str | Path, path: str | Path
) -> None:
    """Fit one scale for all classes, and write the calibrated answers and the weights.

    Which class is likeliest stays as it is (C. Guo et al., "On Calibration of Modern Neural Networks", 2017).

    Args:
        network: around an identity; its scale is set.
        items: prepared items with ``coarse`` ``(C, *grid)``, the logits of networks that did not see the case, ``label``
            ``(1, *spatial)`` of class indices, and ``name``; read twice.
        folder: where the calibrated maps go, as ``<name>.npy``.
        path: file of the state dict.

    Raises:
        DataError: when there is no item.
    """
    generator = torch.Generator().manual_seed(0)
    logits, shares = [], []
    for item in items:
        own = network.bounded(torch.as_tensor(item["coarse"]).float()[None])[0]
        truth = class_shares(torch.as_tensor(item["label"]), len(own), own.shape[1:])
        kept = torch.randperm(own[0].numel(), generator=generator)[:_VOXELS]
        logits.append(own.flatten(1).T[kept])
        shares.append(truth.flatten(1).T[kept])
    if not logits:
        raise DataError("there is no case to calibrate on; give the training cases with their maps.")
    network.scale.fill_(fit_scale(torch.cat(logits), torch.cat(shares)))
    write_maps(lambda item: network(torch.as_tensor(item["coarse"]).float()[None])[0], items, folder)
    export_weights(network, path)


def fit_scale(logits: Tensor, shares: Tensor) -> float:
    """The scale, 0.01 or more, for which ``softmax(scale * logits)`` makes the shares likeliest, by Newton's method.

    Args:
        logits: (N, C).
        shares: (N, C) of every class; each row sums to 1.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> round(fit_scale(logits, torch.tensor([[0.75, 0.25], [0.25, 0.75]])), 3)  # log 3 between 0 and 2
        0.549
    """
    z, truth, scale = logits.double(), shares.double(), 1.0
    hit = (truth * z).sum()
    for _ in range(100):
        p = (scale * z).softmax(dim=1)
        mean = (p * z).sum(dim=1)
        slope = float(mean.sum() - hit)
        curvature = float(((p * z.square()).sum(dim=1) - mean.square()).sum())
        # never more than a factor of two at once: far from its end the curve is flat, and a step would overshoot
        new = min(max(scale - slope / max(curvature, 1e-12), scale / 2), scale * 2)
        if abs(new - scale) < 1e-9 or new < _LEAST:
            return max(new, _LEAST)
        scale = new
    return scale
