"""Measure every arm on every validation case; what is measured is kept, so that a killed run goes on with the next case."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.reproduce.arms import Answer, Networks, answer_all
from monai_dis.engines.reproduce.cases import Case, read_cases
from monai_dis.engines.reproduce.experiment import Experiment
from monai_dis.engines.reproduce.parts import image_preparation, load_networks, weight_files
from monai_dis.metrics import segmentation_metrics

__all__ = ["evaluate", "evaluate_case"]

logger = logging.getLogger(__name__)

_MEASURES = {"dice": "dice", "hd95": "hd95_px", "surface_dice": "surface_dice_2px"}


def evaluate(
    experiment: Experiment, items: Sequence[Mapping[str, Any]], work: Path, device: torch.device
) -> dict[str, list[dict[str, Any]]]:
    """Evaluate the trained networks.

    Args:
        experiment: the settings.
        items: data list of the validation cases.
        work: folder of the weights; measures of finished cases are kept in its folder ``cases``.
        device: where the networks run.

    Returns:
        for each case the entries of `evaluate_case`.
    """
    digest = _digest(weight_files(experiment, work).values())
    kept = work / "cases"
    kept.mkdir(parents=True, exist_ok=True)
    measured: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        entries = _read(kept / f"{item['name']}.json", digest)
        if entries is not None:
            measured[str(item["name"])] = entries
    left = [item for item in items if item["name"] not in measured]
    if left:
        networks = load_networks(experiment, work, device)
        _warm_up(networks, experiment, device)
        for case in read_cases(left, image_preparation(experiment)):
            entries = evaluate_case(case, networks, experiment, device)
            with atomic_path(kept / f"{case.name}.json") as file:
                file.write_text(json.dumps({"weights": digest, "arms": entries}), encoding="utf-8")
            measured[case.name] = entries
            logger.info("evaluated %d of %d, %s: %s", len(measured), len(items), case.name, _in_short(entries))
    return {str(item["name"]): measured[str(item["name"])] for item in items}


def evaluate_case(case: Case, networks: Networks, experiment: Experiment, device: torch.device) -> list[dict[str, Any]]:
    """Measure all arms on one case, in the order of `Experiment.arms`."""
    answers = answer_all(case.image.to(device), case.truth_hi.to(device), networks, experiment, case.name)
    entries = {answer.arm: _entry(answer, case) for answer in answers}
    return [entries[arm] for arm in experiment.arms()]


def _warm_up(networks: Networks, experiment: Experiment, device: torch.device) -> None:
    """Run every arm once on nothing: the first call of a network is slower than all others, and is not one to time."""
    image = torch.zeros(1, 3, experiment.hi_size, experiment.hi_size, device=device)
    for _ in answer_all(image, image[:, :1] > 0, networks, experiment, name=""):
        pass


def _in_short(entries: Sequence[Mapping[str, Any]]) -> str:
    dice = {(e["arm"], e["number"]): e["dice"] for e in entries}
    dis = [value for (kind, _), value in dice.items() if kind == "dis"]
    full = [value for (kind, scale), value in dice.items() if kind == "baseline" and scale == 1]
    shown = [
        f"coarse {entries[0]['dice']:.3f}",
        f"DIS {', '.join(f'{v:.3f}' for v in dis)}",
        *[f"baseline {v:.3f}" for v in full],
    ]
    return "Dice " + ", ".join(shown)


def _entry(answer: Answer, case: Case) -> dict[str, Any]:
    labels = case.on_file_grid(answer.logits) > 0
    return {
        "arm": answer.arm.kind,
        "number": answer.arm.number,
        **_measures(labels, case.truth),
        "windows": len(answer.corners),
        "windows_total": answer.windows_total,
        "operations": answer.operations,
        "seconds": answer.seconds,
    }


def _measures(labels: Tensor, truth: Tensor) -> dict[str, float | None]:
    values = segmentation_metrics(labels.long(), truth.long(), num_classes=2, tolerance=2.0)
    measures = {name: float(values[key]) for key, name in _MEASURES.items()}
    # JSON has no NaN: an empty answer has no distance.
    return {name: value if abs(value) != float("inf") and value == value else None for name, value in measures.items()}


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(file: Path, digest: str) -> list[dict[str, Any]] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries: list[dict[str, Any]] = content["arms"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entries if content.get("weights") == digest else None
