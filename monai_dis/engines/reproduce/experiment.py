"""The poster's experiment as values: sizes, windows, stages, and how much of the poster's training is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from monai_dis.errors import DataError, DisError

__all__ = ["DATASETS", "Arm", "Experiment", "epochs_of"]

DATASETS: Mapping[str, int] = {"ph2": 768, "retina": 768, "kitti": 512}
"""The poster's data sets and the side ``hi_size`` in pixels to which it brings their images."""

# MONAI's UNet of four resolutions halves its input three times.
_NETWORK_MULTIPLE = 8


def epochs_of(poster_epochs: int, effort: float, least_steps: float, steps_per_epoch: int) -> int:
    """Epochs of one stage: a share of the poster's, but enough for a number of steps, and never more than the poster's for that.

    Args:
        poster_epochs: what the poster states.
        effort: share of it; 1 is the poster's.
        least_steps: steps below which a network of this stage learns nothing.
        steps_per_epoch: steps that one epoch has.

    Example:
        >>> epochs_of(1000, 1.0, 600, 32), epochs_of(1000, 0.005, 600, 32), epochs_of(200, 0.0, 1e9, 32)
        (1000, 19, 200)
    """
    least = min(poster_epochs, math.ceil(least_steps / steps_per_epoch))
    return max(1, least, round(poster_epochs * effort))


@dataclass(frozen=True)
class Arm:
    """One way to segment an image, a row of the results.

    Attributes:
        kind: ``"coarse"``, ``"dis"`` (the poster), ``"random"`` and ``"oracle"`` (the same windows, chosen otherwise) or ``"baseline"``.
        number: ``N_p`` where windows are refined, else the scale: 8 is 1/8 of full resolution.
    """

    kind: str
    number: int

    @property
    def refines(self) -> bool:
        """Whether windows are refined, so that ``number`` is ``N_p``."""
        return self.kind in ("dis", "random", "oracle")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that the results depend on besides the data.

    Attributes:
        dataset: name of the data set.
        hi_size: side in pixels of the square that images are brought to.
        divisors: values of ``N_p``: the number of windows, and the divisor of their side.
        baseline_scales: uniform resolutions of the baseline network; 1 is the poster's baseline, the others are its rivals.
        coarse_scale: scale of the first network.
        effort: share of the poster's epochs, see `epochs_of`.
        least_steps: steps that a stage at full resolution has at least; one at 1/n has n times as many, and costs 1/n as much.
        seed: of training, and of the random windows.
        train_cases: only the first so many training cases; None for all.
        val_cases: only the first so many validation cases; None for all.

    Raises:
        DisError: when windows do not fit the images or the network.
    """

    dataset: str
    hi_size: int
    divisors: tuple[int, ...] = (2, 4, 8, 16)
    baseline_scales: tuple[int, ...] = (1, 2, 4, 8)
    coarse_scale: int = 8
    effort: float = 1.0
    least_steps: int = 300
    seed: int = 0
    train_cases: int | None = None
    val_cases: int | None = None

    def __post_init__(self) -> None:
        for n in {*self.divisors, *self.baseline_scales, self.coarse_scale}:
            if n < 1 or self.hi_size % (n * _NETWORK_MULTIPLE):
                raise DisError(
                    f"hi_size {self.hi_size} cannot be divided by {n} into windows whose side is a multiple of {_NETWORK_MULTIPLE} pixels, "
                    "which the network needs; choose another size or another N_p."
                )
        if not self.effort > 0:
            raise DisError(f"effort must be above 0 (1 is the poster's training), got {self.effort!r}.")

    @classmethod
    def of_poster(cls, dataset: str, *, quick: bool = False, effort: float = 1.0) -> Experiment:
        """The poster's experiment on one of its data sets.

        Args:
            dataset: ``"ph2"``, ``"retina"`` or ``"kitti"``.
            quick: few steps on few cases, to see the whole way run in about two minutes; the figures mean nothing.
            effort: share of the poster's epochs.

        Raises:
            DataError: when the poster has no such data set.
        """
        if dataset not in DATASETS:
            raise DataError(f"the poster has no data set {dataset!r}; choose among {', '.join(DATASETS)}.")
        experiment = cls(dataset=dataset, hi_size=DATASETS[dataset], effort=effort)
        if quick:
            return replace(experiment, divisors=(2, 4, 8), effort=1e-6, least_steps=12, train_cases=12, val_cases=4)
        return experiment

    def stages(self) -> list[dict[str, Any]]:
        """Training stages for `monai_dis.engines.recipe.run_stages`, cheap ones first."""
        refine = [{"overlay": "refine", "scale": n} for n in sorted(self.divisors, reverse=True)]
        baseline = [{"overlay": "baseline", "scale": s} for s in sorted(self.baseline_scales, reverse=True)]
        return [{"overlay": "coarse", "scale": self.coarse_scale}, *refine, *baseline]

    def overrides(self) -> dict[str, Any]:
        """Config entries of every stage that follow from the experiment."""
        return {
            "dataset_name": self.dataset,
            "hi_size": self.hi_size,
            "effort": self.effort,
            "least_steps": f"${self.least_steps} * @scale",
            "seed": self.seed,
            "most_cases": self.train_cases,
        }

    def arms(self) -> list[Arm]:
        """All ways to segment, in the order of the results."""
        windows = [Arm(kind, n) for kind in ("dis", "random", "oracle") for n in self.divisors]
        return [Arm("coarse", self.coarse_scale), *windows, *[Arm("baseline", s) for s in self.baseline_scales]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
