"""The curves from score to gain of a bundle's levels: fitted on cases that no network saw, kept beside the weights.

Letters in shapes: ``C`` classes, ``*spatial`` the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_dis.bundle.weights import load_weights
from monai_dis.data.atomic import atomic_path
from monai_dis.engines.recipe import assemble
from monai_dis.engines.window_gains import WindowGain, fit_expected_gain, window_gains
from monai_dis.errors import BundleError, DataError
from monai_dis.inferers import Budget, ExpectedGain, IterativeInferer

__all__ = ["fit_gain_curves", "gains_of", "read_gain_curve"]


def fit_gain_curves(
    network: nn.Module,
    folds: Iterable[tuple[Mapping[str, str | Path], Iterable[Mapping[str, Any]]]],
    inferer: IterativeInferer,
    path: str | Path,
    device: torch.device | str = "cpu",
) -> None:
    """Refine everything in the cases of each fold, with the networks that did not see them, and fit a curve for each level.

    Args:
        network: of the bundle; its weights are replaced fold by fold.
        folds: for each fold the files of its parts, as for `monai_dis.engines.recipe.assemble`, and its cases: prepared items with
            ``image`` (Ci, *spatial) and ``label`` (1 or C, *spatial).
        inferer: of the bundle, without curves.
        path: JSON file to write, for `read_gain_curve`.
        device: where the networks run.

    Raises:
        DataError: when there is no case.
    """
    gains: list[WindowGain] = []
    joined = Path(path).with_suffix(".fold.pt")
    try:
        for parts, items in folds:
            assemble(parts, joined)
            gains += gains_of(load_weights(network, joined).to(device), items, inferer, device)
    finally:
        joined.unlink(missing_ok=True)
    if not gains:
        raise DataError("there is no case to learn from what gain is to be expected; give the training cases.")
    levels = sorted({gain.level for gain in gains})
    curves = {str(level): asdict(fit_expected_gain([g for g in gains if g.level == level])) for level in levels}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def gains_of(
    network: nn.Module,
    items: Iterable[Mapping[str, Any]],
    inferer: IterativeInferer,
    device: torch.device | str = "cpu",
) -> list[WindowGain]:
    """What every window of every case gained; ``image`` counts the items."""
    everything = inferer.without_level_budgets().replaced(budget=Budget.everywhere(), output="logits")
    found: list[WindowGain] = []
    for number, item in enumerate(items):
        image = torch.as_tensor(item["image"]).float()[None].to(device)
        truth = torch.as_tensor(item["label"])[None].to(device)
        for gain in window_gains(everything.run(image, network), truth):
            found.append(WindowGain(number, gain.level, gain.score, gain.gain))
    return found


def read_gain_curve(path: str | Path, level: int) -> ExpectedGain:
    """The curve of a sparse level, counted from 1, out of a file of `fit_gain_curves`.

    Raises:
        BundleError: when the file or the level is missing or damaged.
    """
    try:
        return ExpectedGain.of_entry(json.loads(Path(path).read_text(encoding="utf-8"))[str(level)])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} has no curve of expected gain for level {level}; run the recipe's stage of curves, or take "
            "expected_gain out of the config."
        ) from error
