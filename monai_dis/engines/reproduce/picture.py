"""One image through the stages, as a picture: input, truth, coarse answer, choice of windows, refined windows, result, baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.reproduce.arms import Networks, poster_inferer
from monai_dis.engines.reproduce.cases import Case
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.inferers.score import score_windows
from monai_dis.inferers.windows import window_grid
from monai_dis.networks import TwoStageNet
from monai_dis.reports.palette import hex_color, level_color

__all__ = ["Stages", "draw_stages", "follow_stages"]

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Stages:
    """What the picture shows, all on the prepared square of side ``hi``, rows first.

    Attributes:
        name: of the case.
        number: ``N_p``.
        image: (hi, hi, 3) in [0, 1].
        truth: (hi, hi) bool.
        coarse: (hi, hi) probabilities of the coarse answer.
        scores: (N_p, N_p) score of every window, 0 certain to 0.5.
        corners: first row and column of each refined window.
        refined: (hi, hi) probabilities of the merged result.
        baseline: (hi, hi) probabilities of the baseline.
    """

    name: str
    number: int
    image: Map
    truth: NDArray[np.bool_]
    coarse: Map
    scores: Map
    corners: tuple[tuple[int, int], ...]
    refined: Map
    baseline: Map


@torch.no_grad()
def follow_stages(case: Case, networks: Networks, coarse_scale: int, number: int, device: torch.device) -> Stages:
    """Segment one case with the poster's inference and keep what each stage says.

    Args:
        case: the case to show.
        networks: all trained networks.
        coarse_scale: scale of the coarse network.
        number: ``N_p``.
        device: of the networks.
    """
    image = case.image.to(device)
    size = tuple(image.shape[2:])
    windows = window_grid(size, [n // number for n in size], 0.0)
    result = poster_inferer(coarse_scale, number, windows.roi).run(
        image, TwoStageNet(networks.coarse, networks.refine[number])
    )
    scores = score_windows(None, result.mosaic.coarse.sigmoid(), windows)
    full = min(networks.baseline)
    baseline = resample(networks.baseline[full](resample(image, grid_size(size, full))).float(), size)
    # MONAI reads pictures with their columns first.
    return Stages(
        name=case.name,
        number=number,
        image=_shown(image[0]),
        truth=case.truth_hi[0, 0].numpy().T,
        coarse=_plane(resample(result.mosaic.coarse, size).sigmoid()),
        scores=np.asarray(scores.score[0].T, dtype=np.float32),
        corners=tuple((w.corner[1], w.corner[0]) for w in result.windows),
        refined=_plane(result.logits().sigmoid()),
        baseline=_plane(baseline.sigmoid()),
    )


def draw_stages(stages: Stages, path: Path) -> Path:
    """Write the picture.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side, number = stages.truth.shape[0], stages.number
    covered = np.zeros((side, side), dtype=bool)
    for row, column in stages.corners:
        covered[row : row + side // number, column : column + side // number] = True

    figure = Figure(figsize=(13.2, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 4).ravel()
    _show(panels[0], stages.image, "image")
    _show(panels[1], stages.truth, "truth")
    _show(panels[2], stages.coarse, f"coarse probability (Dice {_dice(stages.coarse, stages.truth):.3f})")
    shown = panels[3].imshow(
        stages.scores, cmap="gray", vmin=0, vmax=0.5, extent=(0, side, side, 0), interpolation="nearest"
    )
    _finish(panels[3], f"score of the windows, {len(stages.corners)} of {number**2} chosen")
    figure.colorbar(shown, ax=panels[3], shrink=0.75, label="0.5 - |mean(p) - 0.5|")
    _show(panels[4], np.where(covered, stages.refined, np.nan), "refined windows")
    _show(panels[5], stages.refined, f"result, N_p = {number} (Dice {_dice(stages.refined, stages.truth):.3f})")
    _show(panels[6], stages.baseline, f"baseline (Dice {_dice(stages.baseline, stages.truth):.3f})")
    _show(panels[7], _errors(stages), "result: missed (red), too much (blue)")
    for panel in (panels[0], panels[3], panels[5]):
        _outline(panel, stages.corners, side // number)
    figure.suptitle(f"{stages.name}: one image through the stages", fontsize=12)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def _shown(image: Tensor) -> Map:
    """(C, hi, hi), normalised, as an RGB picture between its 0.5th and 99.5th percentile."""
    values = image.float().cpu().numpy().transpose(2, 1, 0)
    values = values[..., :3] if values.shape[2] >= 3 else values[..., :1].repeat(3, axis=2)
    low, high = np.percentile(values, [0.5, 99.5], axis=(0, 1))
    return np.asarray(np.clip((values - low) / np.maximum(high - low, 1e-6), 0, 1), dtype=np.float32)


def _plane(values: Tensor) -> Map:
    return np.asarray(values[0, 0].float().cpu().numpy().T, dtype=np.float32)


def _dice(probabilities: Map, truth: NDArray[np.bool_]) -> float:
    labels = probabilities > 0.5
    return float(2 * (labels & truth).sum() / max(int(labels.sum() + truth.sum()), 1))


def _errors(stages: Stages) -> Map:
    labels = stages.refined > 0.5
    picture = np.repeat(0.35 * (labels & stages.truth).astype(np.float32)[..., None] + 0.05, 3, axis=2)
    picture[stages.truth & ~labels] = (0.95, 0.25, 0.2)
    picture[labels & ~stages.truth] = (0.25, 0.55, 1.0)
    return picture


def _show(panel: Any, values: NDArray[Any], title: str) -> None:
    if values.ndim == 2:
        panel.set_facecolor("0.25")
        panel.imshow(values.astype(np.float32), cmap="gray", vmin=0, vmax=1)
    else:
        panel.imshow(values)
    _finish(panel, title)


def _finish(panel: Any, title: str) -> None:
    panel.set_title(title, fontsize=9.5)
    panel.set_xticks([])
    panel.set_yticks([])


def _outline(panel: Any, corners: tuple[tuple[int, int], ...], side: int) -> None:
    from matplotlib.patches import Rectangle

    color = hex_color(level_color(1))
    for row, column in corners:
        panel.add_patch(Rectangle((column, row), side, side, fill=False, edgecolor=color, linewidth=1.5))
