"""Fit how the answer below and the refined one are put together, on answers for images that neither network saw.

Letters in shapes: ``C`` classes, ``*grid0`` and ``*grid`` the grids of the level below and of the refined one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.engines.calibration import bin_middles, fit_logistic, histograms
from monai_dis.engines.stage_files import export_weights
from monai_dis.errors import DataError
from monai_dis.inferers.grid import resample
from monai_dis.metrics import PrecisionRecall
from monai_dis.networks import StackedRefiner

__all__ = ["SHARES", "fit_stack"]

#: Shares of the refined answer that are tried. Steps finer than these say more of the cases than of the networks.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
_BOUND = 16.0  # of the logits that calibration tells apart


def fit_stack(network: StackedRefiner, items: Iterable[Mapping[str, Any]], path: str | Path) -> list[list[float]]:
    """Fit weights and bias of every class, and write them.

    The share of the refined answer is that with the largest average precision over all items together. Cross-entropy would be
    the easier thing to fit and is the wrong one: it is won where nothing is called anyway, while lesions are found by the order
    of what is called. Scale and bias then bring the mean of both answers to where the same logit means the same as in the
    answer below: the image's refined and other windows are compared with each other.

    Args:
        network: around an identity; its numbers are set.
        items: prepared items with ``refined`` ``(C, *grid)`` and ``coarse`` ``(C, *grid0)`` logits, ``label``
            ``(C, *spatial)`` of 0 and 1, and ``name``; read twice.
        path: file of the state dict.

    Returns:
        average precision by class and by share of :data:`SHARES`; nan where a class is nowhere.

    Raises:
        DataError: when there is no item, or classes and logits are not as many.
    """
    classes = len(network.bias)
    measures = [PrecisionRecall(classes) for _ in SHARES]
    for below, refined, truth in _answers(items, classes):
        for share, measure in zip(SHARES, measures, strict=True):
            measure.add(torch.lerp(below, refined, share).sigmoid(), truth)
    areas = [[measure.area(index) for measure in measures] for index in range(classes)]
    shares = torch.tensor([SHARES[_best(row)] for row in areas])

    counts: Tensor | None = None
    for below, refined, truth in _answers(items, classes):
        mean = torch.lerp(below, refined, shares.reshape(-1, *[1] * (below.ndim - 1)))
        own = torch.stack([histograms(z.clamp(-_BOUND, _BOUND), truth, _BOUND) for z in (below, mean)])
        counts = own if counts is None else counts + own
    assert counts is not None
    values = bin_middles(_BOUND)
    for index, share in enumerate(shares):
        (scale_below, bias_below), (scale, bias) = (fit_logistic(values, *kind[index]) for kind in counts)
        network.below_weight[index] = (1 - share) * scale / scale_below
        network.refined_weight[index] = share * scale / scale_below
        network.bias[index] = (bias - bias_below) / scale_below
    export_weights(network, path)
    return areas


def _answers(items: Iterable[Mapping[str, Any]], classes: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Both answers and the truth of each item, (C, *grid)."""
    empty = True
    for item in items:
        empty = False
        refined, below, label = (torch.as_tensor(item[key]) for key in ("refined", "coarse", "label"))
        if not len(refined) == len(below) == len(label) == classes:
            raise DataError(
                f"{item['name']} has {len(below)} and {len(refined)} maps of logits and {len(label)} masks, the network "
                f"{classes} classes; give one of each for each."
            )
        grid = tuple(refined.shape[1:])
        truth = nn.functional.interpolate(label[None].float(), size=grid, mode="nearest-exact")[0]
        yield resample(below[None].float(), grid)[0], refined.float(), truth
    if empty:
        raise DataError("there is no case to fit on; give the training cases with their maps.")


def _best(areas: Sequence[float]) -> int:
    """The first of the largest: as little of the refined answer as is as good."""
    return max(range(len(areas)), key=lambda i: (areas[i] == areas[i], areas[i]))
