"""Fit the calibration of a coarse network on its answers for images that it did not see.

Letters in shapes: ``C`` classes, ``*grid`` the coarse grid, ``N`` bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_dis.engines.stage_files import export_weights
from monai_dis.engines.stage_maps import write_maps
from monai_dis.errors import DataError
from monai_dis.networks import CalibratedLogits

__all__ = ["bin_middles", "calibrate", "fit_logistic", "histograms"]

_BINS = 4096
_PRECISION = 0.01  # of the prior
_POOLS: Mapping[int, Callable[..., Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def calibrate(
    network: CalibratedLogits,
    items: Iterable[Mapping[str, Any]],
    folder: str | Path,
    path: str | Path,
    *,
    positive_weight: float = 1.0,
    with_bias: bool = True,
) -> None:
    """Fit scale and bias of every class, and write the calibrated answers and the weights.

    Args:
        network: around an identity; its scale and bias are set.
        items: prepared items with ``coarse`` ``(C, *grid)``, the logits of networks that did not see the case, ``label``
            ``(C, *spatial)`` of 0 and 1, and ``name``; read twice.
        folder: where the calibrated maps go, as ``<name>.npy``.
        path: file of the state dict.
        positive_weight: how much a positive pixel counts against a negative one, as ``pos_weight`` of the cross-entropy that
            the other networks are trained with: 1 puts one half where both are as likely, 3 where the odds are 1 to 3. Dice
            is largest where the probability is half of it (Z. Lipton et al., "Thresholding Classifiers to Maximize F1
            Score", 2014), so that for lesions of which half are found 3 makes one half the best place to cut.
        with_bias: False fits the scale alone, which is temperature scaling (C. Guo et al., "On Calibration of Modern Neural
            Networks", 2017): a network that was trained with Dice has its best place to cut at one half already, and keeps it.

    Raises:
        DataError: when there is no item, or classes and logits are not as many.
    """
    counts: Tensor | None = None
    for item in items:
        logits, label = torch.as_tensor(item["coarse"]).float(), torch.as_tensor(item["label"])
        if len(logits) != len(label):
            raise DataError(
                f"{item['name']} has {len(logits)} maps of logits and {len(label)} masks; give one for each."
            )
        own = histograms(network.bounded(logits[None])[0], label, network.bound)
        counts = own if counts is None else counts + own
    if counts is None:
        raise DataError("there is no case to calibrate on; give the training cases with their maps.")
    values = bin_middles(network.bound)
    fitted = torch.tensor([fit_logistic(values, *each, with_bias=with_bias) for each in counts])
    network.scale.copy_(fitted[:, 0])
    network.bias.copy_(fitted[:, 1] + math.log(positive_weight))
    write_maps(lambda item: network(torch.as_tensor(item["coarse"]).float()[None])[0], items, folder)
    export_weights(network, path)


def fit_logistic(values: Tensor, positive: Tensor, total: Tensor, *, with_bias: bool = True) -> tuple[float, float]:
    """Scale and bias for which ``sigmoid(scale * value + bias)`` is likeliest, by Newton's method.

    Args:
        values: (N,) distinct values.
        positive: (N,) how much of what has this value is positive.
        total: (N,) how much has this value.
        with_bias: False leaves the bias at 0.

    Returns:
        scale, never below 0.01, so that the order stays, and bias. A weak prior, a standard deviation of 10 around 1 and 0,
        keeps both finite where all is of one kind.

    Example:
        >>> values = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        >>> scale, bias = fit_logistic(values, torch.tensor([2.5e5, 7.5e5]), torch.tensor([1e6, 1e6]))
        >>> round(scale, 3), abs(round(bias, 3))  # log 3 between -1 and 1
        (1.099, 0.0)
    """
    x, hit, n = values.double(), positive.double(), total.double()
    design = torch.stack([x, torch.ones_like(x)], dim=1)[:, : 2 if with_bias else 1]
    prior = torch.tensor([1.0, 0.0], dtype=torch.float64)[: design.shape[1]]
    weights = prior

    def loss(w: Tensor) -> Tensor:
        z = design @ w
        return (n * F.softplus(z) - hit * z).sum() + _PRECISION * (w - prior).square().sum() / 2

    for _ in range(100):
        p = torch.sigmoid(design @ weights)
        gradient = design.T @ (n * p - hit) + _PRECISION * (weights - prior)
        hessian = design.T @ (design * (n * p * (1 - p))[:, None]) + _PRECISION * torch.eye(
            len(prior), dtype=torch.float64
        )
        step, size = torch.linalg.solve(hessian, gradient), 1.0
        while size > 1e-6 and not loss(weights - size * step) <= loss(weights):
            size /= 2
        weights = weights - size * step
        if float((size * step).abs().max()) < 1e-9:
            break
    return max(0.01, float(weights[0])), float(weights[1]) if with_bias else 0.0


def bin_middles(bound: float) -> Tensor:
    """(N,) logits that stand for the bins of :func:`histograms`."""
    return (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS * 2 * bound - bound


def histograms(bounded: Tensor, label: Tensor, bound: float) -> Tensor:
    """(C, 2, N): share of positive pixels, and number of voxels, by logit.

    Args:
        bounded: (C, *grid) logits within ``-bound`` and ``bound``.
        label: (C, *spatial), not zero where the class is.
        bound: of the logits.
    """
    out = torch.zeros((len(bounded), 2, _BINS), dtype=torch.float64)
    pool = _POOLS[bounded.ndim - 1]
    for index, (logits, mask) in enumerate(zip(bounded, label, strict=True)):
        share = pool((mask > 0).float()[None, None], tuple(logits.shape))[0, 0].flatten().double()
        where = ((logits.flatten() + bound) / (2 * bound) * _BINS).long().clamp(0, _BINS - 1)
        out[index, 0].index_add_(0, where, share)
        out[index, 1] += torch.bincount(where, minlength=_BINS)
    return out
