"""The result of a run: the mosaic, and what can be composed from it.

Letters in shapes: ``B`` batch, ``C`` channels, ``*spatial`` the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_dis.inferers.batching import adapted
from monai_dis.inferers.grid import spacing_mm_of
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.outputs import OutputForm
from monai_dis.inferers.prices import Counts
from monai_dis.inferers.statistics import Statistics, Stopwatch, WindowRecord
from monai_dis.inferers.survey import VoxelCounts, survey

__all__ = ["IterativeResult"]


@dataclass(frozen=True)
class _Surveyed:
    """What was counted when the mosaic held a number of windows."""

    counts: VoxelCounts
    windows: int


class IterativeResult:
    """What `monai_dis.inferers.IterativeInferer.run` returns.

    Args:
        mosaics: one per output of the network, the primary one first.
        form: the form in which the network answers.
        inputs: the images; type, geometry and dtype of what is composed follow them.
        windows: refined windows.
        windows_total: number of candidates.
        counts: counts operations when it is called.
        score_size: grid of the last score.
        watch: seconds so far.
    """

    def __init__(
        self,
        mosaics: Sequence[Mosaic],
        form: OutputForm,
        inputs: Tensor,
        windows: tuple[WindowRecord, ...],
        windows_total: int,
        counts: Callable[[], Counts],
        score_size: tuple[int, ...],
        watch: Stopwatch,
    ) -> None:
        self.mosaics = tuple(mosaics)
        self.form = form
        self.windows = windows
        self.windows_total = windows_total
        self._dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
        self._meta = _empty_like(inputs) if isinstance(inputs, MetaTensor) else None
        self._spacing_mm = spacing_mm_of(inputs, inputs.ndim - 2)
        self._counts_of = counts
        self._score_size = score_size
        self._watch = watch
        self._surveyed: _Surveyed | None = None

    @property
    def mosaic(self) -> Mosaic:
        """The mosaic of the primary output."""
        return self.mosaics[0]

    def logits(self) -> Tensor:
        """Logits of the primary output on the image's grid, (B, C, *spatial)."""
        return self._composed(self.mosaic)

    def outputs(self) -> Any:
        """All outputs on the image's grid, in the form in which the network answers."""
        return self.form.pack([self._composed(m) for m in self.mosaics])

    def labels(self) -> Tensor:
        """Class indices on the image's grid; see `monai_dis.inferers.mosaic.Mosaic.labels`."""
        with self._watch.stage("merge"):
            # Counting in the same pass costs little; a pass of its own would compose everything again.
            labels, counted = self._survey_now(labels=True)
        assert labels is not None and counted is not None
        self._surveyed = _Surveyed(counted, self._windows_in_mosaic)
        return self._with_meta(labels)

    def uncertainty(self, method: str = "entropy") -> Tensor:
        """Uncertainty of the refined answer on the image's grid, (B, 1, *spatial) in [0, 1]."""
        return self._with_meta(self.mosaic.uncertainty(method))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far, without the cost of the other statistics."""
        return dict(self._watch.seconds)

    @property
    def area_mm(self) -> float | None:
        """Area or volume of the field of view in mm2 or mm3, for a ``MetaTensor``."""
        if self._spacing_mm is None:
            return None
        return math.prod(n * s for n, s in zip(self.mosaic.size, self._spacing_mm, strict=True))

    @property
    def statistics(self) -> Statistics:
        """What the run did; the first access composes the answer once to compare it with the coarse one."""
        counts, left = self._counts, self.uncertain_left
        area_mm = self.area_mm
        return Statistics(
            images=self.mosaic.images,
            windows=self.windows,
            windows_total=self.windows_total,
            operations=round(counts.coarse + counts.refine),
            operations_coarse=round(counts.coarse),
            operations_full_pass=counts.full_pass,
            operations_sliding_window=counts.sliding_window,
            operations_callers_window=counts.callers_window,
            operations_unit=counts.unit,
            seconds=dict(self._watch.seconds),
            calls=dict(self._watch.calls),
            uncertain_left=left,
            uncertain_left_mm=None if area_mm is None else tuple(share * area_mm for share in left),
            dice_coarse_refined=self.dice_coarse_refined,
        )

    @cached_property
    def _counts(self) -> Counts:
        return self._counts_of()

    @property
    def uncertain_left(self) -> tuple[float, ...]:
        """Per image, share of the area whose entropy is above 0.5 after refinement."""
        return tuple(float(v) / math.prod(self._score_size) for v in self._survey.unsure)

    @property
    def dice_coarse_refined(self) -> tuple[float, ...]:
        """Dice between coarse and refined labels on the finest grid."""
        both, either = self._survey.both, self._survey.either
        if self.mosaic.activation == "softmax":
            both, either = both[:, 1:], either[:, 1:]
        scores = []
        for common, total in zip(both, either, strict=True):
            seen = total > 0
            scores.append(float((2 * common[seen] / total[seen]).mean()) if bool(seen.any()) else 1.0)
        return tuple(scores)

    @property
    def _windows_in_mosaic(self) -> int:
        return sum(len(layer) for layer in self.mosaic.layers)

    @property
    def _survey(self) -> VoxelCounts:
        """Counts of the answer as it is: windows that were added since are seen."""
        if self._surveyed is None or self._surveyed.windows != self._windows_in_mosaic:
            _, counted = self._survey_now(labels=False)
            assert counted is not None
            self._surveyed = _Surveyed(counted, self._windows_in_mosaic)
        return self._surveyed.counts

    def _survey_now(self, *, labels: bool) -> tuple[Tensor | None, VoxelCounts | None]:
        with torch.no_grad():
            return adapted(lambda: survey(self.mosaic, labels=labels, score_size=self._score_size), self.mosaics)

    def _composed(self, mosaic: Mosaic) -> Tensor:
        with self._watch.stage("merge"):
            logits = adapted(lambda: mosaic.compose().to(self._dtype), self.mosaics)
        return self._with_meta(logits)

    def _with_meta(self, values: Tensor) -> Tensor:
        if self._meta is None:
            return values
        return _copy_meta(values, self._meta)


def _empty_like(inputs: MetaTensor) -> MetaTensor:
    """Keep geometry and history without the voxels."""
    return _copy_meta(torch.empty(0), inputs)


def _copy_meta(values: Tensor, source: MetaTensor) -> MetaTensor:
    out = MetaTensor(values)
    out.copy_meta_from(source)  # type: ignore[no-untyped-call]
    return out
