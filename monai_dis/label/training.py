"""Learning from a reader's corrections: the networks of a bundle trained on, and published only if they are no worse.

Fine-tuning, not the bundle's recipe: it starts from the weights in use, holds normalisation as it is, and sees only the datastore's
final labels. Letters in shapes: ``Ci`` image channels, ``C`` classes, ``*spatial`` a prepared image, ``*grid`` a level's grid.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceCELoss
from monai.transforms.spatial.array import SpatialResample
from torch import Tensor, nn

from monai_dis.data import check_labels
from monai_dis.errors import DataError, DisError
from monai_dis.inferers.call import NetworkCall
from monai_dis.inferers.coarse import coarse_pass
from monai_dis.inferers.grid import resample, spatial
from monai_dis.inferers.plan import SparsePlan, plan_sparse_levels
from monai_dis.inferers.score import probabilities
from monai_dis.inferers.stages import Stages, stages_of
from monai_dis.label.published import Shelf
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.modes import make_runner
from monai_dis.pipeline.predict import Predictor, Stopwatch

__all__ = [
    "Epoch",
    "HeldCases",
    "LabelledCase",
    "Outcome",
    "Schedule",
    "split_cases",
    "train",
    "usable",
    "validation_dice",
]

#: Prepared cases held in memory.
_HELD = 24
_FOCUSED = 0.5  # share of the windows where the coarse answer is wrong


@dataclass(frozen=True)
class LabelledCase:
    """An image with a reader's final label.

    Attributes:
        name: tells it from others, wherever its files lie.
        image: file.
        label: file of class indices on the same voxels.
    """

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Schedule:
    """How long is trained, and what.

    Attributes:
        parts: ``"coarse"``, ``"refine"`` or ``"both"``.
        epochs: number of epochs; each ends with a validation.
        steps: per epoch.
        learning_rate: of AdamW.
        val_split: share of the cases that are for validation.
        seed: of the order of cases and windows.
    """

    parts: str = "both"
    epochs: int = 10
    steps: int = 50
    learning_rate: float = 2e-4
    val_split: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        number: from 1.
        of: how many there will be.
        loss: mean over its steps.
        val_dice: mean Dice on the validation cases.
        in_use_dice: that of the weights in use when training began.
        seconds: since it began.
    """

    number: int
    of: int
    loss: float
    val_dice: float
    in_use_dice: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        version: that was published; None where the weights in use were better.
        best_dice: mean Dice of the best epoch on the validation cases.
        in_use_dice: that of the weights in use when training began.
        train_cases: number of them.
        val_cases: number of them.
        epochs: what was known after each.
    """

    version: int | None
    best_dice: float
    in_use_dice: float
    train_cases: int
    val_cases: int
    epochs: tuple[Epoch, ...] = field(repr=False)


def split_cases(cases: Sequence[LabelledCase], share: float) -> tuple[list[LabelledCase], list[LabelledCase]]:
    """Cases for training and for validation: a case stays on its side as others are added, so that none is judged by what it taught.

    Args:
        cases: in any order.
        share: of the cases for validation.

    Raises:
        DataError: when there are fewer than two.
    """
    if len(cases) < 2:
        raise DataError(
            f"there {'is one case' if len(cases) == 1 else 'are no cases'} with a final label; training needs two at least, one of "
            "them for validation. Submit more labels."
        )
    # By a hash of the name: a share of all names there can be. One at least is on each side.
    ranked = sorted(cases, key=lambda case: _hashed(case.name))
    count = sum(_hashed(case.name) < share for case in ranked)
    count = min(max(count, 1), len(ranked) - 1)
    return ranked[count:], ranked[:count]


def usable(model: Model, cases: Sequence[LabelledCase]) -> tuple[list[LabelledCase], dict[str, DisError]]:
    """The cases that can be learned from, and what is wrong with each of the others, by its name.

    Args:
        model: whose classes the labels have.
        cases: with final labels.
    """
    good, wrong = [], {}
    for case in cases:
        try:
            check_labels([{"image": str(case.image), "label": str(case.label)}], model.label_reader)
        except DisError as error:
            wrong[case.name] = error
        else:
            good.append(case)
    return good, wrong


def train(
    model: Model,
    cases: Sequence[LabelledCase],
    schedule: Schedule,
    shelf: Shelf,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Outcome:
    """Train on final labels and publish the best epoch, if it is at least as good as the weights in use.

    Args:
        model: of the bundle, with the weights in use; its network has the best weights afterwards.
        cases: with final labels.
        schedule: how long, and what.
        shelf: where weights are published.
        on_epoch: called after each epoch.

    Raises:
        DataError: when there are too few cases, or labels cannot be used; before anything is trained.
        DisError: when an image cannot be read.
    """
    teaching, judging = split_cases(cases, schedule.val_split)
    check_labels(({"image": str(case.image), "label": str(case.label)} for case in cases), model.label_reader)
    start, chance = time.perf_counter(), random.Random(schedule.seed)
    torch.manual_seed(schedule.seed)
    network = model.network.eval()  # running statistics of norms are those of the bundle's training set
    in_use = validation_dice(model, judging)
    best, best_state = -1.0, None
    held = HeldCases(model)
    trained = _trainable(network, schedule.parts)
    optimizer = torch.optim.AdamW(trained, lr=schedule.learning_rate, weight_decay=1e-4)
    epochs: list[Epoch] = []
    for number in range(1, schedule.epochs + 1):
        total = 0.0
        for _ in range(schedule.steps):
            image, label = held(teaching[chance.randrange(len(teaching))])
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(model, image, label, schedule.parts, chance)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 5.0)
            optimizer.step()
            total += float(loss.detach())
        dice = validation_dice(model, judging)
        if dice > best:
            best = dice
            best_state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
        epoch = Epoch(number, schedule.epochs, total / schedule.steps, dice, in_use, time.perf_counter() - start)
        epochs.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch)
    assert best_state is not None
    network.load_state_dict(best_state)
    version = None
    if best >= in_use:
        about = {"val_dice": best, "former_dice": in_use, "train_cases": len(teaching), "val_cases": len(judging)}
        version = shelf.publish(best_state, about)
    return Outcome(version, best, in_use, len(teaching), len(judging), tuple(epochs))


def validation_dice(model: Model, cases: Sequence[LabelledCase]) -> float:
    """Mean Dice over cases and classes, of the bundle's own way to answer, on the grid of the files.

    A class that neither answer nor label has does not count; where nothing counts the result is 1.
    """
    device = next(model.network.parameters()).device
    runner = make_runner(model.network, model.inferer, "dis", model.inferer.settings.budget)
    predictor = Predictor(runner, model.network, model.predictor.preprocessing, model.predictor.postprocessing, device)
    values = []
    for case in cases:
        with torch.inference_mode():
            prediction = predictor(case.image)
        truth = torch.as_tensor(model.label_of(case.label, prediction.image))[0]
        for number, mask in enumerate(prediction.class_masks(), start=1):
            other = truth == number
            size = float(mask.sum() + other.sum())
            if size:
                values.append(2 * float((mask & other).sum()) / size)
    return sum(values) / len(values) if values else 1.0


class HeldCases:
    """Prepared cases, the last ones kept."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.device = next(model.network.parameters()).device
        runner = make_runner(model.network, model.inferer, "dis", model.inferer.settings.budget)
        self.predictor = Predictor(
            runner, model.network, model.predictor.preprocessing, model.predictor.postprocessing, self.device
        )
        self.kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, case: LabelledCase) -> tuple[Tensor, Tensor]:
        """Image (1, Ci, *spatial) and class indices (1, 1, *spatial) on the same voxels."""
        if case.name not in self.kept:
            prepared = self.predictor.prepare(case.image, None, Stopwatch(self.device))
            label = self.model.label_of(case.label, prepared.original)
            there = SpatialResample(mode="nearest", padding_mode="zeros")(
                label, dst_affine=prepared.image.affine, spatial_size=prepared.image.shape[1:]
            )
            batch = prepared.batch
            image = batch.as_tensor() if isinstance(batch, MetaTensor) else batch
            self.kept[case.name] = (image, torch.as_tensor(there)[None].to(self.device))
            if len(self.kept) > _HELD:
                self.kept.popitem(last=False)
        self.kept.move_to_end(case.name)
        return self.kept[case.name]


def _hashed(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def _trainable(network: nn.Module, parts: str) -> list[nn.Parameter]:
    """Parameters that are trained; of any other network all are."""
    coarse, refine = getattr(network, "coarse", None), getattr(network, "refine", None)
    if not isinstance(coarse, nn.Module) or not isinstance(refine, nn.Module):
        chosen = [network]
    else:
        chosen = {"coarse": [coarse], "refine": [refine]}.get(parts, [coarse, refine])
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    found = [parameter for module in chosen for parameter in module.parameters() if parameter.is_floating_point()]
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def _loss(model: Model, image: Tensor, label: Tensor, which: str, chance: random.Random) -> Tensor:
    settings = model.inferer.settings
    image = _varied(image, chance)
    stages = stages_of(model.network, settings.levels)
    plans = plan_sparse_levels(settings, image)
    wanted = which if plans else "coarse"
    two_stages = hasattr(model.network, "coarse") and hasattr(model.network, "refine")
    if not two_stages:
        wanted = "refine" if plans else "coarse"
    if wanted == "both":
        wanted = chance.choice(["coarse", "refine"])
    grid = settings.levels[0].grid_of(image)
    with torch.set_grad_enabled(wanted == "coarse"):
        coarse = coarse_pass(image, None, grid, NetworkCall(stages.coarse), settings).outputs[0]
    activation = settings.activation or ("softmax" if coarse.shape[1] > 1 else "sigmoid")
    if wanted == "coarse":
        fine = tuple(min(n, 2 * g) for n, g in zip(image.shape[2:], coarse.shape[2:], strict=True))
        return _compare(resample(coarse, fine), F.interpolate(label, size=fine, mode="nearest"), activation)
    place = chance.randrange(len(plans))
    return _window_loss(image, label, coarse, plans[place], stages, place, activation, chance)


def _window_loss(
    image: Tensor,
    label: Tensor,
    coarse: Tensor,
    plan: SparsePlan,
    stages: Stages,
    place: int,
    activation: str,
    chance: random.Random,
) -> Tensor:
    """Loss of the refine network on one window of a level."""
    grid, roi = plan.windows.grid, plan.windows.roi
    centre = _centre(coarse, label, activation, chance)
    corner = [
        0 if g <= r else min(max(round(c * g - r / 2), 0), g - r) for c, g, r in zip(centre, grid, roi, strict=True)
    ]
    part = spatial([slice(c, c + r) for c, r in zip(corner, roi, strict=True)])
    missing = [max(r - g, 0) for r, g in zip(roi, grid, strict=True)]
    pads = [n for m in reversed(missing) for n in (m // 2, m - m // 2)]

    def window(values: Tensor) -> Tensor:
        return F.pad(values[part], pads)

    inputs = [window(resample(image, grid))]
    if stages.conditioned[place]:
        inputs.append(window(resample(coarse, grid)))
    answer = stages.refine[place](*inputs)
    if isinstance(answer, dict):
        answer = next(iter(answer.values()))
    answer = answer[0] if isinstance(answer, (list, tuple)) else answer
    return _compare(answer, window(F.interpolate(label, size=grid, mode="nearest")), activation)


def _centre(coarse: Tensor, label: Tensor, activation: str, chance: random.Random) -> list[float]:
    """Centre of a window as a share of each axis: where the coarse answer is wrong, or anywhere."""
    if chance.random() >= _FOCUSED:
        return [chance.random() for _ in coarse.shape[2:]]
    with torch.no_grad():
        grid = tuple(coarse.shape[2:])
        truth = F.interpolate((label > 0).float(), size=grid, mode="area")
        p = probabilities(coarse, activation)
        found = 1 - p[:, :1] if activation == "softmax" else p.amax(dim=1, keepdim=True)
        wrong = (found - truth).abs().flatten().double().cumsum(0)
    if float(wrong[-1]) <= 0:
        return [chance.random() for _ in grid]
    at = int(torch.searchsorted(wrong, chance.random() * float(wrong[-1])))
    index = torch.unravel_index(torch.tensor(min(at, len(wrong) - 1)), grid)
    return [(int(i) + chance.random()) / g for i, g in zip(index, grid, strict=True)]


def _compare(logits: Tensor, label: Tensor, activation: str) -> Tensor:
    if activation == "softmax":
        return torch.as_tensor(DiceCELoss(to_onehot_y=True, softmax=True)(logits, label))
    truth = torch.cat([(label == c).float() for c in range(1, logits.shape[1] + 1)], dim=1)
    return torch.as_tensor(DiceCELoss(sigmoid=True)(logits, truth))


def _varied(image: Tensor, chance: random.Random) -> Tensor:
    """Another contrast and brightness, as another scanner would have."""
    spread = float(image.std()) or 1.0
    return image * (1 + chance.uniform(-0.1, 0.1)) + spread * chance.uniform(-0.1, 0.1)
