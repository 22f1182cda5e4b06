"""What the coarse pass of a study says its windows are worth, kept with the pass itself, so that nothing is computed twice.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.modes import Runner
from monai_dis.errors import BundleError
from monai_dis.inferers import Budget, ExpectedGain
from monai_dis.inferers.call import NetworkCall
from monai_dis.inferers.gain import scorers_of
from monai_dis.inferers.plan import plan_sparse_levels
from monai_dis.inferers.stages import stages_of
from monai_dis.networks import TwoStageNet

__all__ = ["Survey", "SurveyedRunner", "SurveyingRunner", "keep_answers", "kept_answers"]


@dataclass(frozen=True)
class Survey:
    """One image after its coarse pass.

    Attributes:
        gains: what the windows of the first sparse level are expected to gain, best first.
        scores: of the same windows. Gains are read off a curve of few steps, on each of which scores still tell windows apart.
        window: multiply-accumulates of one of them.
        paid: multiply-accumulates of the coarse pass and of scoring.
        toll: of these, what refining pays again.
        full_pass: multiply-accumulates of one full pass of the finest refine network.
    """

    gains: tuple[float, ...]
    scores: tuple[float, ...]
    window: int
    paid: int
    toll: int
    full_pass: float

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Survey:
        """Read a survey from plain JSON types."""
        return cls(**{**entry, "gains": tuple(entry["gains"]), "scores": tuple(entry["scores"])})


class _Recorded(nn.Module):
    """The coarse network, whose answers are kept."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.answers: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        answer = self.network(x)
        if not isinstance(x, FakeTensor):
            if not isinstance(answer, Tensor):
                raise BundleError(
                    "a budget for a whole cohort needs a coarse network that answers with one tensor; give each study its own."
                )
            # a copy: whoever asked may weigh the answer in place
            self.answers.append(answer.to("cpu", copy=True))
        return answer


class _Replayed(nn.Module):
    """The kept answers in place of the network; they cost nothing again."""

    def __init__(self, answers: Sequence[Tensor]) -> None:
        super().__init__()
        self.channels = int(answers[0].shape[1])
        self._left = list(answers)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, FakeTensor):  # operations are counted
            return x.new_empty((x.shape[0], self.channels, *x.shape[2:]))
        return self._left.pop(0).to(x.device, copy=True)


class _AsBelow(nn.Module):
    """A refine network that leaves what it is given."""

    def forward(self, window: Tensor, below: Tensor) -> Tensor:
        return below


class SurveyingRunner:
    """In place of a `Runner`: the coarse pass alone, and what it says of the windows.

    Args:
        runner: of a bundle with a pair of networks.

    Attributes:
        surveys: of each image that was run.
        answers: of the coarse network, in the order of its calls, for each image.

    Raises:
        BundleError: when the bundle has no pair of networks, or runs them otherwise than by windows.
    """

    def __init__(self, runner: Runner) -> None:
        if not isinstance(runner.network, TwoStageNet) or runner.mode != "dis" or len(runner.inferer.levels) < 2:
            raise BundleError(
                "a budget for a whole cohort needs a bundle with a coarse and a refine network, and the mode dis."
            )
        self.network, self.inferer = runner.network, runner.inferer
        self.surveys: list[Survey] = []
        self.answers: list[list[Tensor]] = []

    def __call__(self, image: Tensor, *, logits: bool = False) -> tuple[Tensor, dict[str, Any]]:
        """The coarse answer of an image (1, Ci, *spatial), as a `Runner` gives it."""
        recorded = _Recorded(self.network.coarse)
        first = self.inferer.levels[1]
        ranking = self.inferer.replaced(levels=[self.inferer.levels[0], replace(first, uses=None)], budget=None)
        scored = ranking.run(image, TwoStageNet(recorded, _AsBelow(), "logits", self.network.scorer))
        curve = first.expected_gain
        scores = [each.score for each in scored.windows]
        gains = scores if curve is None else [ExpectedGain.of_entry(curve).of(score) for score in scores]
        coarse = self.inferer.with_budget(Budget(windows=0)).run(image, _replayed(self.network, recorded.answers))
        plan = plan_sparse_levels(self.inferer.settings, image)[0]
        stages = stages_of(self.network, self.inferer.levels)
        like, channels = image.new_empty((1, image.shape[1], 1)), coarse.mosaic.channels
        scorer = scorers_of([plan], stages.scorers[:1])[0]
        toll = 0 if scorer is None else scorer.operations(like, coarse.mosaic.grid_size(0), channels)
        statistics = coarse.statistics.to_dict()
        # The recorded answers say what the coarse network was given.
        passes = sum(
            NetworkCall(self.network.coarse).operations(like, answer.shape[2:], count=len(answer))
            for answer in recorded.answers
        )
        self.surveys.append(
            Survey(
                # the choice is greedy: what a window adds never rises, but for rounding and the curve's own steps
                _falling(gains),
                _falling(scores),
                NetworkCall(stages.refine[0], stages.conditioned[0]).operations(like, plan.read_size, channels),
                passes + toll,
                toll,
                float(statistics["operations_full_pass"]),
            )
        )
        self.answers.append(recorded.answers)
        return coarse.logits(), {**statistics, "channels": channels}


def _falling(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.minimum.accumulate(values).tolist()) if values else ()


class SurveyedRunner:
    """In place of a `Runner`: refine with the shares that each image was given, from the coarse answers that are there.

    Args:
        runner: of the bundle.
        answers: of the coarse network for each image.
        shares: of a full pass, for each image; without the coarse pass, which is paid.
    """

    def __init__(self, runner: Runner, answers: Sequence[Sequence[Tensor]], shares: Sequence[float]) -> None:
        self.runner = runner
        self.inferer = runner.inferer
        self._left = list(zip(answers, shares, strict=True))

    def __call__(self, image: Tensor, *, logits: bool = False) -> tuple[Tensor, dict[str, Any]]:
        """As a `Runner`; image (1, Ci, *spatial)."""
        answers, share = self._left.pop(0)
        assert isinstance(self.runner.network, TwoStageNet)
        inferer = self.inferer.with_budget(Budget(operations=share) if share > 0 else Budget(windows=0))
        return replace(self.runner, network=_replayed(self.runner.network, answers), inferer=inferer)(
            image, logits=logits
        )


def _replayed(network: TwoStageNet, answers: Sequence[Tensor]) -> TwoStageNet:
    """The pair with the answers of its coarse network in place of it."""
    refine = list(network.refine) if isinstance(network.refine, nn.ModuleList) else network.refine
    scorer = list(network.scorer) if isinstance(network.scorer, nn.ModuleList) else network.scorer
    return TwoStageNet(_Replayed(answers), refine, network.conditioning, scorer).eval()


def keep_answers(path: Path, answers: Sequence[Sequence[Tensor]]) -> None:
    """Write coarse answers, float32, for the pass that refines."""
    arrays: dict[str, Any] = {
        f"{i} {j}": each.float().numpy() for i, run in enumerate(answers) for j, each in enumerate(run)
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def kept_answers(path: Path) -> list[list[Tensor]]:
    """Read what `keep_answers` wrote."""
    with np.load(path) as arrays:
        found: Mapping[str, Any] = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    runs: list[list[Tensor]] = []
    for name in sorted(found, key=lambda each: tuple(map(int, each.split()))):
        number = int(name.split()[0])
        runs.extend([] for _ in range(number + 1 - len(runs)))
        runs[number].append(found[name])
    return runs
