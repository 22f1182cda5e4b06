"""Fit how much of each class's refined answer stands, on answers for images that neither network saw.

Letters in shapes: ``C`` classes, ``*grid0`` and ``*grid`` the grids of the level below and of the refined one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_dis.engines.stage_files import export_weights
from monai_dis.errors import DataError
from monai_dis.inferers.grid import resample
from monai_dis.metrics import PrecisionRecall
from monai_dis.networks import ClassGate, GatedRefiner

__all__ = ["SHARES", "fit_shares"]

#: What is tried. Steps finer than these say more of the cases than of the networks.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


def fit_shares(network: GatedRefiner, items: Iterable[Mapping[str, Any]], path: str | Path) -> list[list[float]]:
    """Set each class's share to that with the largest average precision over all items together, and write the weights.

    Cross-entropy would be the easier thing to fit and is the wrong one: it is won where nothing is called anyway, while
    lesions are found by the order of what is called.

    Args:
        network: around an identity, with a :class:`~monai_dis.networks.ClassGate`; its shares are set.
        items: prepared items with ``refined`` ``(C, *grid)`` and ``coarse`` ``(C, *grid0)`` logits, ``label``
            ``(C, *spatial)`` of 0 and 1 whose size is a whole multiple of the grid, and ``name``.
        path: file of the state dict.

    Returns:
        average precision by class and by share of :data:`SHARES`; nan where a class is nowhere.

    Raises:
        DataError: when there is no item, or classes and logits are not as many.
    """
    gate = network.gate
    if not isinstance(gate, ClassGate):
        raise DataError(f"shares are fitted for a ClassGate, the network has a {type(gate).__name__}.")
    classes = len(gate.share)
    measures = [PrecisionRecall(classes) for _ in SHARES]
    empty = True
    with torch.no_grad():
        for item in items:
            empty = False
            refined, below, label = (torch.as_tensor(item[key]) for key in ("refined", "coarse", "label"))
            if not len(refined) == len(below) == len(label) == classes:
                raise DataError(
                    f"{item['name']} has {len(below)} and {len(refined)} maps of logits and {len(label)} masks, the gate "
                    f"{classes} classes; give one of each for each."
                )
            grid = refined.shape[1:]
            answers = resample(below[None].float(), grid), refined[None].float()
            truth = nn.functional.interpolate(label[None].float(), size=tuple(grid), mode="nearest-exact")[0]
            for share, measure in zip(SHARES, measures, strict=True):
                gate.share.fill_(share)
                measure.add(network.decide(*answers)[0].sigmoid(), truth)
    if empty:
        raise DataError("there is no case to fit the gate on; give the training cases with their maps.")
    areas = [[measure.area(index) for measure in measures] for index in range(classes)]
    gate.share.copy_(torch.tensor([SHARES[_best(row)] for row in areas]))
    export_weights(network, path)
    return areas


def _best(areas: Sequence[float]) -> int:
    """The first of the largest: as little of the refined answer as is as good."""
    return max(range(len(areas)), key=lambda i: (areas[i] == areas[i], areas[i]))
