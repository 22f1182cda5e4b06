"""Maps that one training stage leaves for the next: coarse answers, refined answers, realised gain, one file a case.

They are answers for images that the network did not see (out of fold), so that what is trained on them meets the errors that it will
meet at inference. Letters in shapes: ``C`` classes, ``*grid`` a level's grid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers.inferer import Inferer
from torch import Tensor, nn

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.stage_files import is_first_process
from monai_dis.errors import DataError
from monai_dis.inferers import IterativeInferer
from monai_dis.inferers.grid import resample
from monai_dis.inferers.score import probabilities

__all__ = ["class_shares", "realised_gain", "with_maps", "write_coarse", "write_gain", "write_maps", "write_refined"]


def write_coarse(
    network: nn.Module, items: Iterable[Mapping[str, Any]], folder: str | Path, device: torch.device | str = "cpu"
) -> None:
    """Write the logits of a coarse network as ``folder/<name>.npy``, ``(C, *grid)`` float32.

    Args:
        network: a coarse network that was not trained on these items.
        items: prepared items with ``image`` ``(Ci, *grid)`` on the coarse grid and ``name``.
        folder: where the files go; made when missing.
        device: where the network runs.
    """
    network.eval().to(device)

    def answer(item: Mapping[str, Any]) -> Tensor:
        image = torch.as_tensor(item["image"]).float()[None].to(device)
        # As inference runs it: padded to a size that the network takes.
        logits = IterativeInferer(roi_size=image.shape[2:], levels=[1])(image, network)
        return torch.as_tensor(logits)[0].float()

    write_maps(answer, items, folder)


def write_refined(
    network: nn.Module,
    items: Iterable[Mapping[str, Any]],
    folder: str | Path,
    inferer: Inferer,
    device: torch.device | str = "cpu",
) -> None:
    """Write what a refine network makes of a whole image as ``folder/<name>.npy``, ``(C, *grid)`` float16.

    Args:
        network: a refine network that was not trained on these items.
        items: prepared items with ``image`` ``(Ci, *grid)`` on the level's grid and ``name``; where the network is conditioned on
            logits, with ``coarse`` ``(C, *grid0)`` too.
        folder: where the files go; made when missing.
        inferer: a sliding window of MONAI's.
        device: where the network runs.
    """
    network.eval().to(device)

    def answer(item: Mapping[str, Any]) -> Tensor:
        image = torch.as_tensor(item["image"]).float()[None].to(device)
        if "coarse" not in item:
            return torch.as_tensor(inferer(image, network))[0].half()
        below = resample(torch.as_tensor(item["coarse"]).float()[None].to(device), image.shape[2:])
        channels = image.shape[1]
        refined = inferer(torch.cat([image, below], 1), lambda x: network(x[:, :channels], x[:, channels:]))
        return torch.as_tensor(refined)[0].half()

    write_maps(answer, items, folder)


def realised_gain(coarse: Tensor, refined: Tensor, label: Tensor, activation: str = "sigmoid") -> Tensor:
    """By how much refinement brought the probabilities nearer to the truth, in every cell of the coarse grid.

    Squared errors, as in the Brier score: their mean is least where the probability is right. Of the plain differences it is
    least at 0 or 1, and ground on which nobody calls anything would gain most, by being called a little less.

    Args:
        coarse: ``(C, *grid0)`` logits.
        refined: ``(C, *grid)`` logits on a finer grid.
        label: class indices ``(1, *spatial)``, or ``(C, *spatial)`` of 0 and 1 for overlapping classes.
        activation: ``"softmax"`` or ``"sigmoid"``.

    Returns:
        ``(C, *grid0)`` in [-1, 1]: mean of ``(p_coarse - truth) ** 2 - (p_refined - truth) ** 2``; negative where it got worse.

    Example:
        >>> coarse, refined = torch.zeros(1, 1, 1), torch.tensor([[[200.0, 0.0]]])
        >>> realised_gain(coarse, refined, torch.tensor([[[1, 0]]])).tolist()
        [[[0.125]]]
    """
    size = refined.shape[1:]
    before = probabilities(resample(coarse[None].float(), size), activation)[0]
    after = probabilities(refined[None].float(), activation)[0]
    gains = []
    # Class by class: a stack of large labels in float would be several times the image.
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if len(label) == len(coarse):
            truth = label[index] > 0
        else:
            truth = label[0] == index if activation == "softmax" else label[0] == index + 1
        target = _area(truth.float()[None, None], size)[0, 0]
        gains.append(_area(((old - target).square() - (new - target).square())[None, None], coarse.shape[1:])[0])
    return torch.cat(gains)


def class_shares(label: Tensor, classes: int, grid: Sequence[int]) -> Tensor:
    """Share of every class in the cells of a grid, (classes, *grid), of class indices (1, *spatial)."""
    return torch.cat([_area((label[0] == index).float()[None, None], grid)[0] for index in range(classes)])


def write_gain(
    gate: nn.Module | None,
    items: Iterable[Mapping[str, Any]],
    folder: str | Path,
    device: torch.device | str = "cpu",
    *,
    activation: str = "sigmoid",
    done: str | Path | None = None,
) -> None:
    """Write the gain of refinement, after the gate where there is one, as ``folder/<name>.npy``, ``(1, *grid0)`` float32 in [0, 1].

    The classes weigh the same, whatever their size: each is divided by its summed gain over all items.

    Args:
        gate: takes refined logits and those of the level below, both ``(1, C, *grid)``, and says what stands; None: the refined ones.
        items: prepared items with ``refined`` ``(C, *grid)``, ``coarse`` ``(C, *grid0)``, ``label`` ``(1 or C, *spatial)``
            and ``name``; read twice.
        folder: where the files go; made when missing.
        device: where the gate runs.
        activation: ``"softmax"`` or ``"sigmoid"``.
        done: JSON file that says what each class gained in all, written last: a stage that trains nothing is finished when it is there.
    """
    if gate is not None:
        gate.eval().to(device)

    def gain(item: Mapping[str, Any]) -> Tensor:
        coarse, refined = (torch.as_tensor(item[key]).float()[None].to(device) for key in ("coarse", "refined"))
        stands = refined if gate is None else gate(refined, resample(coarse, refined.shape[2:]))
        return realised_gain(coarse[0], stands[0], torch.as_tensor(item["label"]).to(device), activation)

    total: Tensor | None = None
    with torch.no_grad():
        for item in items:
            own = gain(item).clamp(min=0).flatten(1).sum(1)
            total = own if total is None else total + own
    if total is None:
        raise DataError("there is no case to measure the gain of; give the training cases with their maps.")
    weight = torch.where(total > 0, 1 / total.clamp(min=1e-12), torch.zeros_like(total))
    weight = weight / weight.sum().clamp(min=1e-12)

    def answer(item: Mapping[str, Any]) -> Tensor:
        own = gain(item)
        return (own * weight.reshape(-1, *[1] * (own.ndim - 1))).sum(0, keepdim=True).clamp(min=0)

    write_maps(answer, items, folder)
    if done is not None and is_first_process():
        with atomic_path(done) as temporary:
            temporary.write_text(json.dumps({"gained": total.tolist()}) + "\n", encoding="utf-8")


def with_maps(datalist: Iterable[Mapping[str, Any]], **folders: str | Path) -> list[dict[str, Any]]:
    """Add the paths of each case's maps, such as ``with_maps(cases, coarse=FOLDER)``.

    Raises:
        DataError: when one is missing, since a network must not be trained on answers of one that saw the case.
    """
    items = [
        {**item, **{key: str(Path(folder) / f"{item['name']}.npy") for key, folder in folders.items()}}
        for item in datalist
    ]
    for key, folder in folders.items():
        missing = [item["name"] for item in items if not Path(item[key]).is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(items)} cases have no out-of-fold {key} answer in {folder} (first: {missing[0]}); "
                "run the stages before this one, or the whole recipe with `monai-dis train`."
            )
    return items


def _area(values: Tensor, size: Sequence[int]) -> Tensor:
    """Mean over the cells of a coarser grid, (1, 1, *spatial) to (1, 1, *size)."""
    return values if tuple(values.shape[2:]) == tuple(size) else F.interpolate(values, size=tuple(size), mode="area")


def write_maps(
    answer: Callable[[Mapping[str, Any]], Tensor], items: Iterable[Mapping[str, Any]], folder: str | Path
) -> None:
    """Write one map for each item as ``folder/<name>.npy``; in a distributed run the first process does."""
    if not is_first_process():
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for item in items:
            values = answer(item).cpu().numpy()
            with atomic_path(Path(folder) / f"{item['name']}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, values)
