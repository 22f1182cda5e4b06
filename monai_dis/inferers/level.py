"""One level of a run: a grid, the windows on it, and how they are scored, selected and merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from monai.utils import ensure_tuple
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.budget import Budget
from monai_dis.inferers.expected_gain import ExpectedGain
from monai_dis.inferers.grid import grid_size, scale_from_spacing

__all__ = [
    "AGGREGATES",
    "AUTOCASTS",
    "MERGES",
    "MODES",
    "OUTPUTS",
    "SCORES",
    "SELECTIONS",
    "Level",
    "check_choice",
    "check_exploration",
    "check_overlap",
    "check_roi_size",
]

SELECTIONS = ("coverage", "ranked", "depth")
AUTOCASTS = ("bfloat16", "float16", "auto")
OUTPUTS = ("logits", "labels")
SCORES = ("entropy", "margin", "least_confidence", "poster", "gain")
AGGREGATES = ("mean", "sum", "max")
MERGES = ("blend", "replace", "entropy", "average")
MODES = ("constant", "gaussian")


@dataclass(frozen=True)
class Level:
    """One level, from coarse to fine; the first of a run is dense, all others are sparse.

    What is None is taken from the inferer. Level 0 is one pass over the whole small image, or MONAI's sliding window on
    it when it has a ``roi_size`` of its own.

    Args:
        scale: the grid is ``ceil(S / scale)``: 8 is one voxel for eight, 1 full resolution; one number or one per axis.
        roi_size: window size in voxels of this level's grid; an entry of None or -1 takes the whole axis.
        overlap: share of a window that its neighbour covers, in [0, 1); the finer, the freer the choice.
        mode: how windows of this level are averaged where they overlap, ``"constant"`` or ``"gaussian"``.
        spacing_mm: voxel spacing in millimetres in place of ``scale``, for images that carry an affine.
        selection: ``"coverage"`` (greedy: each choice takes the uncertainty that it covers from the others),
            ``"ranked"`` (the best scores as they are) or ``"depth"`` (greedy: uncertain ground is brought away from the
            borders of windows; not for ``"poster"`` and ``"max"``).
        score: ``"entropy"``, ``"margin"``, ``"least_confidence"``, ``"poster"`` (``0.5 - abs(mean(p) - 0.5)``) or ``"gain"``
            (what the network's own scorer expects refinement to gain, see `monai_dis.networks.TwoStageNet`).
        aggregate: ``"mean"``, ``"sum"`` or ``"max"`` of the uncertainty over the window (not for ``"poster"``).
        merge: how windows meet the level below: ``"replace"``, ``"blend"`` (fades at borders with ground that no window
            covers), ``"entropy"`` (the more certain answer weighs more) or ``"average"`` (as one sliding window averages
            all its windows; for level 1 over a level 0 in windows on the same grid).
        exploration: share of the level's windows that go where the image has detail that the level below could not see,
            whatever its answer says; a floor for structures that it misses with confidence.
        halo: voxels of context read around a window and cut off after the network.
        budget: a limit for this level's windows alone (its operations are counted without the coarse pass).
        expected_gain: what the scores of this level's windows promise, for budgets with ``min_gain``: a `monai_dis.inferers.ExpectedGain`
            or a mapping of its fields; None promises all that refinement could do.
        sw_batch_size: windows per network call.
        uses: which refine network of a `TwoStageNet`: its index, ``"refine"`` (the level's own) or ``"coarse"``.
        divisible: (level 0) the network gets sizes that are multiples of this number; None finds the smallest of
            1, 2, 4, ... 64 that it accepts; a network that accepts none gets windows of the run's ``roi_size``, without
            overlap.

    Raises:
        LevelError: when an argument is out of range.
    """

    scale: float | Sequence[float] | None = None
    roi_size: Sequence[int | None] | int | None = None
    overlap: float | Sequence[float] | None = None
    mode: str | None = None
    spacing_mm: float | Sequence[float] | None = None
    selection: str | None = None
    score: str | None = None
    aggregate: str | None = None
    merge: str | None = None
    exploration: float | None = None
    halo: int | Sequence[int] = 0
    budget: Budget | Mapping[str, float | None] | str | None = None
    expected_gain: ExpectedGain | Mapping[str, Any] | None = None
    sw_batch_size: int | None = None
    uses: int | str | None = None
    divisible: int | None = None

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.spacing_mm is None):
            raise LevelError("a level needs either scale or spacing_mm, and not both.")
        for name in ("scale", "spacing_mm"):
            self._check_numbers(name)
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.roi_size is not None:
            check_roi_size(self.roi_size)
        if self.overlap is not None:
            check_overlap(self.overlap)
        if self.exploration is not None:
            check_exploration(self.exploration)
        halos = ensure_tuple(self.halo)
        if any(h < 0 for h in halos):
            raise LevelError(f"halo must be 0 or more voxels, got {self.halo!r}.")
        for name in ("sw_batch_size", "divisible"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise LevelError(f"{name} must be a whole number of 1 or more, got {value!r}.")
        if isinstance(self.uses, str) and self.uses not in ("refine", "coarse"):
            raise LevelError(f"uses must be 'refine', 'coarse' or the index of a refine network, got {self.uses!r}.")
        if self.budget is not None:
            object.__setattr__(self, "budget", Budget.of(self.budget))
        if self.expected_gain is not None:
            object.__setattr__(self, "expected_gain", ExpectedGain.of_entry(self.expected_gain))

    @classmethod
    def of(cls, level: Level | Mapping[str, Any] | float) -> Level:
        """Read a level from a config entry: a `Level`, a mapping of its fields, or its scale alone.

        Raises:
            LevelError: when a name is unknown or a value is out of range.
        """
        if isinstance(level, Level):
            return level
        if isinstance(level, Real):
            return cls(float(level))
        if not isinstance(level, Mapping):
            raise LevelError(f"a level must be a Level, a mapping or a scale, got {type(level).__name__}.")
        names = [f.name for f in fields(cls)]
        unknown = sorted(set(level) - set(names))
        if unknown:
            raise LevelError(f"a level has no entry {unknown[0]!r}; choose among {', '.join(names)}.")
        return cls(**level)

    def grid_of(self, image: Tensor) -> tuple[int, ...]:
        """Spatial size of this level's grid for an image (B, C, *spatial).

        Raises:
            LevelError: when scale or spacing do not fit the image.
        """
        scale = self.scale if self.scale is not None else scale_from_spacing(image, self.spacing_mm or 0.0)
        return grid_size(tuple(image.shape[2:]), scale)

    def _check_numbers(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        numbers = ensure_tuple(value)
        lowest = 1.0 if name == "scale" else 0.0
        if any(isinstance(n, bool) or not n >= lowest or n == float("inf") or n == 0 for n in numbers):
            rule = "1 or more (1 is full resolution)" if name == "scale" else "above 0"
            raise LevelError(f"{name} must be {rule}, got {value!r}.")


_CHOICES = {"mode": MODES, "selection": SELECTIONS, "score": SCORES, "aggregate": AGGREGATES, "merge": MERGES}


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is neither None nor among the choices.

    Raises:
        LevelError: with the choices.
    """
    if value is not None and value not in choices:
        raise LevelError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def check_exploration(exploration: float) -> None:
    """Refuse a share outside [0, 1].

    Raises:
        LevelError: with the value.
    """
    if isinstance(exploration, bool) or not 0 <= exploration <= 1:
        raise LevelError(f"exploration is a share of the windows and must lie in [0, 1], got {exploration!r}.")


def check_roi_size(roi_size: Sequence[int | None] | int) -> None:
    """Refuse a window size that is not made of whole numbers.

    Raises:
        LevelError: with the value.
    """
    entries: Sequence[Any] = roi_size if isinstance(roi_size, (list, tuple)) else (roi_size,)
    if not entries or any(n is not None and (isinstance(n, bool) or not isinstance(n, Integral)) for n in entries):
        raise LevelError(f"roi_size must be a whole number, or one per axis (-1 for the whole axis), got {roi_size!r}.")


def check_overlap(overlap: float | Sequence[float]) -> None:
    """Refuse an overlap outside [0, 1).

    Raises:
        LevelError: with the value.
    """
    shares = ensure_tuple(overlap)
    if any(not 0 <= share < 1 for share in shares):
        raise LevelError(f"overlap must be 0 or more and below 1, got {overlap!r}.")
