"""What a run did: windows with places and scores, operations, seconds and calls per stage, what stayed uncertain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

__all__ = ["STAGES", "Statistics", "Stopwatch", "WindowRecord"]

STAGES = ("coarse", "score", "select", "gather", "refine", "merge")


@dataclass(frozen=True)
class WindowRecord:
    """One refined window.

    Args:
        image: index in the batch.
        level: sparse level, 1 or above.
        corner: first voxel in the image's grid, inside the image.
        size: size in voxels of the image's grid, what lies beyond the image cut off.
        score: score when it was chosen, higher is more uncertain.
        grid_corner: first voxel on the level's own grid; negative where an image smaller than the window was padded.
        grid_size: size on the level's own grid.
    """

    image: int
    level: int
    corner: tuple[int, ...]
    size: tuple[int, ...]
    score: float
    grid_corner: tuple[int, ...]
    grid_size: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """Statistics of one run over a batch; operations are multiply-accumulates, summed over the batch.

    Args:
        images: number of images.
        windows: refined windows, by level, then image, best first.
        windows_total: number of candidates that there were.
        operations: counted for all network calls of the run.
        operations_coarse: the part of level 0.
        operations_full_pass: of the finest refine network once over the whole images at full resolution without overlap.
        operations_sliding_window: of the same network in a sliding window at overlap 0.5.
        operations_callers_window: of the same network in a sliding window at the overlap that the caller gave, which is what a caller
            of MONAI's sliding window would have paid.
        operations_unit: ``"multiply-accumulates"``; ``"voxels"`` that networks are given where torch cannot count one of them, such as
            a session of another runtime.
        seconds: per stage; ``merge`` grows when logits or labels are composed.
        calls: per stage; for ``coarse`` and ``refine`` the network calls.
        uncertain_left: per image, share of the area whose entropy is above 0.5 after refinement.
        uncertain_left_mm: the same as mm2 or mm3, for a ``MetaTensor``.
        dice_coarse_refined: per image, Dice of the labels of the coarse and the refined answer, mean of the foreground
            classes that either has; 1 when neither has any.
    """

    images: int
    windows: tuple[WindowRecord, ...]
    windows_total: int
    operations: int
    operations_coarse: int
    operations_full_pass: float
    operations_sliding_window: float
    operations_callers_window: float
    operations_unit: str
    seconds: dict[str, float]
    calls: dict[str, int]
    uncertain_left: tuple[float, ...]
    uncertain_left_mm: tuple[float, ...] | None
    dice_coarse_refined: tuple[float, ...]

    @property
    def windows_refined(self) -> int:
        """Number of refined windows."""
        return len(self.windows)

    @property
    def fraction_of_full_pass(self) -> float:
        """Operations as a share of `operations_full_pass`; 0 when that is not known to cost anything."""
        return self.operations / self.operations_full_pass if self.operations_full_pass else 0.0

    @property
    def fraction_of_sliding_window(self) -> float:
        """Operations as a share of `operations_sliding_window`; 0 when that is not known to cost anything."""
        return self.operations / self.operations_sliding_window if self.operations_sliding_window else 0.0

    @property
    def fraction_of_callers_window(self) -> float:
        """Operations as a share of `operations_callers_window`; 0 when that is not known to cost anything."""
        return self.operations / self.operations_callers_window if self.operations_callers_window else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: dictionaries, lists, numbers."""
        plain = asdict(self)
        plain["windows"] = [_listed(w) for w in plain["windows"]]
        plain["windows_refined"] = self.windows_refined
        plain["fraction_of_full_pass"] = self.fraction_of_full_pass
        plain["fraction_of_sliding_window"] = self.fraction_of_sliding_window
        plain["fraction_of_callers_window"] = self.fraction_of_callers_window
        return _listed(plain)


class Stopwatch:
    """Seconds and calls per stage.

    Args:
        cuda: take the time on the accelerator, by events in its queue: nobody waits for it until somebody asks for seconds.
    """

    def __init__(self, cuda: bool = False) -> None:
        self.cuda = cuda
        self.calls: dict[str, int] = dict.fromkeys(STAGES, 0)
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._open: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str, calls: int = 1) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        begun = self._mark()
        try:
            yield
        finally:
            ended = self._mark()
            if begun is not None and ended is not None:
                self._open.append((name, begun, ended))
            else:
                self._seconds[name] += time.perf_counter() - start
            self.calls[name] += calls

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        if self._open:
            torch.cuda.synchronize()
            for name, begun, ended in self._open:
                self._seconds[name] += begun.elapsed_time(ended) / 1000
            self._open.clear()
        return self._seconds

    def _mark(self) -> torch.cuda.Event | None:
        if not self.cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _listed(value: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
