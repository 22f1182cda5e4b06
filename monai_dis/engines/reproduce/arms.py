"""The ways to segment an image that the experiment compares, each with its cost.

The refined windows of an image are computed once for all: the poster's choice runs through `IterativeInferer` as any user would run it,
random and oracle choices are put together from the answers of all windows.

Letters in shapes: ``C`` channels, ``K`` windows, ``hi`` the side of the square image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from monai_dis.engines.reproduce.experiment import Arm, Experiment
from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.inferers.gather import gather_windows
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.operations import count_operations
from monai_dis.inferers.windows import WindowGrid, window_grid
from monai_dis.networks import TwoStageNet

__all__ = ["Answer", "Networks", "answer_all", "poster_inferer", "refine_everywhere", "window_gains"]


@dataclass(frozen=True)
class Networks:
    """The trained networks: the coarse one, one refine network for each ``N_p``, one baseline for each scale."""

    coarse: nn.Module
    refine: dict[int, nn.Module]
    baseline: dict[int, nn.Module]


@dataclass(frozen=True)
class Answer:
    """What one arm says of one image, and what that took.

    Attributes:
        arm: the arm.
        logits: (1, 1, hi, hi).
        operations: multiply-accumulates.
        seconds: of resampling and networks, without reading and preparation; None for choices that no one could make in practice.
        corners: refined windows, their first pixel.
        windows_total: how many windows there were to choose from.
    """

    arm: Arm
    logits: Tensor
    operations: int
    seconds: float | None
    corners: tuple[tuple[int, ...], ...] = ()
    windows_total: int = 0


@torch.no_grad()
def answer_all(image: Tensor, truth: Tensor, networks: Networks, experiment: Experiment, name: str) -> Iterator[Answer]:
    """Segment one image in every way.

    Args:
        image: (1, C, hi, hi), on the device of the networks.
        truth: (1, 1, hi, hi) bool, which the oracle sees.
        networks: all trained networks.
        experiment: scales, numbers of windows, seed.
        name: of the case; random windows depend on it and the seed alone.

    Yields:
        an answer per arm, those of one number of windows together.
    """
    coarse = _dense(image, networks.coarse, Arm("coarse", experiment.coarse_scale))
    yield coarse
    for number, refine in networks.refine.items():
        yield _dis(image, networks.coarse, refine, experiment.coarse_scale, number)
        windows, refined = refine_everywhere(image, refine, number)
        gains = window_gains(coarse.logits, refined, truth, windows)
        # The first draw of a generator of its own: the same windows whatever else is evaluated.
        drawn = np.random.default_rng([experiment.seed, number, crc32(name.encode())]).permutation(len(windows))
        chosen = {"random": drawn[:number], "oracle": np.argsort(-gains, kind="stable")[:number]}
        cost = coarse.operations + number * _counted(refine, image.new_empty((1, image.shape[1], *windows.roi)))
        for kind, choice in chosen.items():
            logits = _replace(image, networks.coarse, experiment.coarse_scale, windows, refined, choice)
            yield Answer(Arm(kind, number), logits, cost, None, _corners(windows, choice), len(windows))
    for scale, network in networks.baseline.items():
        yield _dense(image, network, Arm("baseline", scale))


def poster_inferer(coarse_scale: int, number: int, roi: tuple[int, ...]) -> IterativeInferer:
    """The poster's inference: contiguous windows, the ``number`` lowest ``abs(mean(p) - 0.5)``, replaced."""
    return IterativeInferer(
        roi_size=roi,
        sw_batch_size=number,
        overlap=0,
        levels=[Level(coarse_scale), Level(1)],
        budget=Budget(windows=number),
        activation="sigmoid",
        score="poster",
        selection="ranked",
        merge="replace",
    )


def refine_everywhere(image: Tensor, refine: nn.Module, number: int) -> tuple[WindowGrid, Tensor]:
    """Refine every window of the poster's grid.

    Args:
        image: (1, C, hi, hi).
        refine: the refine network.
        number: ``N_p``, the divisor of the side.

    Returns:
        The grid of ``K = number ** 2`` windows and their logits (K, 1, *roi).
    """
    size = tuple(image.shape[2:])
    windows = window_grid(size, [n // number for n in size], 0.0)
    parts = []
    for first in range(0, len(windows), number):
        corners = torch.as_tensor(windows.corners[first : first + number])
        read = gather_windows(image, torch.zeros(len(corners), dtype=torch.int64), corners, windows.roi)
        parts.append(refine(read).float())
    return windows, torch.cat(parts)


def window_gains(coarse: Tensor, refined: Tensor, truth: Tensor, windows: WindowGrid) -> np.ndarray:
    """How many wrong pixels fewer each window has after its refinement.

    Args:
        coarse: (1, 1, hi, hi) coarse logits at full resolution.
        refined: (K, 1, *roi) logits of all windows.
        truth: (1, 1, hi, hi) bool.
        windows: the grid of windows.

    Returns:
        (K,) numbers of pixels, negative where the refinement spoils the window.
    """
    corners = torch.as_tensor(windows.corners)
    index = torch.zeros(len(corners), dtype=torch.int64)
    wrong = gather_windows(((coarse > 0) != truth).float(), index, corners, windows.roi)
    target = gather_windows(truth.float(), index, corners, windows.roi) > 0
    fewer = wrong.sum((1, 2, 3)) - ((refined > 0) != target).sum((1, 2, 3))
    return np.asarray(fewer.cpu().numpy())


def _dense(image: Tensor, network: nn.Module, arm: Arm) -> Answer:
    """One pass over the whole image at a uniform scale, enlarged linearly."""
    size = tuple(image.shape[2:])
    start = _now(image)
    small = resample(image, grid_size(size, arm.number))
    logits = resample(network(small).float(), size)
    seconds = _now(image) - start
    return Answer(arm, logits, _counted(network, small), seconds)


def _counted(network: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates; those of the experiment's networks can always be counted."""
    return count_operations(network, [image]) or 0


@torch.no_grad()
def _dis(image: Tensor, coarse: nn.Module, refine: nn.Module, coarse_scale: int, number: int) -> Answer:
    roi = tuple(n // number for n in image.shape[2:])
    inferer = poster_inferer(coarse_scale, number, roi)
    network = TwoStageNet(coarse, refine)
    start = _now(image)
    result = inferer.run(image, network)
    logits = result.logits()
    seconds = _now(image) - start
    corners = tuple(window.corner for window in result.windows)
    return Answer(Arm("dis", number), logits, result.statistics.operations, seconds, corners, result.windows_total)


def _replace(
    image: Tensor, coarse: nn.Module, coarse_scale: int, windows: WindowGrid, refined: Tensor, choice: np.ndarray
) -> Tensor:
    size = tuple(image.shape[2:])
    small = coarse(resample(image, grid_size(size, coarse_scale))).float()
    mosaic = Mosaic(small, size, "sigmoid", [Layer(windows.grid, windows.roi, "replace")])
    mosaic.add_windows(1, [0] * len(choice), _corners(windows, choice), refined[torch.as_tensor(choice)])
    return mosaic.compose()


def _corners(windows: WindowGrid, choice: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(c) for c in windows.corners[k]) for k in choice)


def _now(image: Tensor) -> float:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter()
