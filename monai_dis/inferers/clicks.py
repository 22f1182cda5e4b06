"""Clicks: where a reader says what is there, windows are refined next, whatever the budget; the rest stays as it was.

Each click adds a layer of one window to the mosaic, on the image's own grid. In it the answer of before is moved by what the
network makes of the clicks, and then, where the network did not follow, a small ball around the click becomes what was said.
Without clicks nothing is added: the answer is that of before, bit for bit.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``G`` guidance channels, ``*spatial`` the image, ``*roi`` a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_dis.errors import ImageError
from monai_dis.inferers.call import NetworkCall
from monai_dis.inferers.grid import grid_size, resample, spatial
from monai_dis.inferers.merge import importance_map
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.plan import Settings
from monai_dis.inferers.reading import read_below
from monai_dis.inferers.stages import stages_of
from monai_dis.inferers.windows import full_roi

__all__ = [
    "SIGMA",
    "Click",
    "click_corner",
    "draw_guidance",
    "gaussian",
    "guidance_channels",
    "mosaic_of_labels",
    "with_click",
]

#: Width of a click in the guidance, in voxels of the window, as MONAI's ``AddGuidanceSignald``.
SIGMA = 2.0
#: Logit by which a clicked voxel belongs to what was said, if the network does not say so itself.
_MARGIN = 2.0
_BALL_SIGMA = 2.5  # voxels of the image; the ball ends where the Gaussian is one half
_COVERED = 0.99


@dataclass(frozen=True)
class Click:
    """A click on a prepared image.

    Attributes:
        position: voxels of the prepared image, from 0; whole numbers are centres.
        label: class index that is there; 0 for the background.
    """

    position: tuple[float, ...]
    label: int


def with_click(
    mosaic: Mosaic, image: Tensor, network: Any, clicks: Sequence[Click], settings: Settings
) -> tuple[Mosaic, tuple[int, ...], tuple[int, ...]]:
    """Add what the last of several clicks changes.

    Args:
        mosaic: the answer so far, of one image, with the earlier clicks in it.
        image: (1, Ci, *spatial).
        network: a `monai_dis.networks.TwoStageNet`, whose ``clicks`` (`monai_dis.networks.ClickNet`) corrects; without one, or with any
            other network, the window is refined and the clicked voxel and its neighbours become what was said.
        clicks: all clicks so far, the new one last.
        settings: of the inferer.

    Returns:
        a mosaic of the same windows and one more layer, and corner and size of its window in voxels of the image.

    Raises:
        ImageError: when the click lies outside the image.
    """
    size, click = mosaic.size, clicks[-1]
    if len(click.position) != len(size) or not all(
        -0.5 <= p <= n - 0.5 for p, n in zip(click.position, size, strict=True)
    ):
        raise ImageError(f"a click lies outside the image of {' x '.join(map(str, size))} voxels; place it inside.")
    pair = network if hasattr(network, "clicks") else getattr(network, "module", network)
    corrector = getattr(pair, "clicks", None)
    scale = tuple(corrector.scale) if corrector is not None else _plain_scale(settings, len(size))
    grid = grid_size(size, scale)
    roi = tuple(corrector.roi_size) if corrector is not None else full_roi(settings.roi_size, grid)
    corner = click_corner(click.position, size, grid, roi)
    fine_corner = tuple(c * s for c, s in zip(corner, scale, strict=True))
    fine_roi = tuple(r * s for r, s in zip(roi, scale, strict=True))
    last = len(mosaic.layers)
    with torch.no_grad():
        on_grid = resample(image, grid)
        window = _read(on_grid, corner, roi)
        now = read_below(mosaic, grid, last, corner, roi)
        below, refined = _refined(mosaic, on_grid, now, click, corner, roi, network, settings)
        corrected = refined
        if corrector is not None:
            guidance = draw_guidance(
                clicks, guidance_channels(mosaic.channels, mosaic.activation), size, grid, corner, roi
            )
            corrected = corrector(window, below, refined, guidance[None].to(window))
        moved = F.interpolate(corrected - now, size=fine_roi, mode=_LINEAR[len(size)], align_corners=False)
        answer = read_below(mosaic, size, last, fine_corner, fine_roi) + moved
        answer = _honoured(answer, clicks, fine_corner, mosaic.activation)
    # What a click changes fades towards the border of its window, so that none is seen.
    layer = Layer(size, fine_roi, "blend", importance_map(fine_roi).to(answer))
    added = mosaic.with_layer(layer)
    added.add_windows(len(added.layers), [0], [fine_corner], answer)
    return added, fine_corner, fine_roi


def guidance_channels(channels: int, activation: str) -> int:
    """Number ``G`` of guidance channels: one for the background and one for each class."""
    return channels if activation == "softmax" else channels + 1


def click_corner(
    position: Sequence[float], size: Sequence[int], grid: Sequence[int], roi: Sequence[int]
) -> tuple[int, ...]:
    """First voxel of the window around a click, on a level's grid; inside the image where the window fits.

    Example:
        >>> click_corner((10.0, 0.0), (32, 32), (16, 16), (8, 8))
        (1, 0)
    """
    corner = []
    for p, n, g, r in zip(position, size, grid, roi, strict=True):
        on_grid = (p + 0.5) * g / n - 0.5
        corner.append(-((r - g) // 2) if g <= r else min(max(round(on_grid - (r - 1) / 2), 0), g - r))
    return tuple(corner)


def draw_guidance(
    clicks: Sequence[Click],
    channels: int,
    size: Sequence[int],
    grid: Sequence[int],
    corner: Sequence[int],
    roi: Sequence[int],
) -> Tensor:
    """Clicks as maps: at each click of a class a Gaussian of height 1 in that class's channel.

    Args:
        clicks: in voxels of the image.
        channels: number ``G`` of maps.
        size: of the image.
        grid: of the level.
        corner: of the window, on that grid.
        roi: of the window.

    Returns:
        (G, *roi) in [0, 1].
    """
    maps = torch.zeros((channels, *roi))
    for click in clicks:
        centre = [(p + 0.5) * g / n - 0.5 - c for p, n, g, c in zip(click.position, size, grid, corner, strict=True)]
        maps[click.label] = torch.maximum(maps[click.label], gaussian(centre, roi, SIGMA))
    return maps


def mosaic_of_labels(labels: Tensor, activation: str, channels: int, certainty: float = 4.0) -> Mosaic:
    """A mosaic that says what labels say, for refining an existing segmentation.

    Args:
        labels: (*spatial) class indices on the prepared image's grid.
        activation: ``"softmax"`` or ``"sigmoid"``.
        channels: number ``C`` of logit channels.
        certainty: logit of what is labelled, and less of it of what is not.

    Returns:
        a mosaic without layers, whose coarse map has the image's own grid.
    """
    first = 0 if activation == "softmax" else 1
    masks = torch.stack([labels == index for index in range(first, first + channels)])
    logits = torch.where(masks, certainty, -certainty)[None]
    return Mosaic(logits, tuple(labels.shape), activation)


_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _plain_scale(settings: Settings, dims: int) -> tuple[int, ...]:
    """Scale of the finest level that was refined, whose network knows no other; 1 where there is none, or it is no whole number."""
    own = settings.levels[-1].scale if len(settings.levels) > 1 else None
    scales = tuple(own) if isinstance(own, Sequence) else (own or 1,) * dims
    return tuple(int(s) for s in scales) if all(s == int(s) for s in scales) else (1,) * dims


def _refined(
    mosaic: Mosaic,
    on_grid: Tensor,
    now: Tensor,
    click: Click,
    corner: tuple[int, ...],
    roi: tuple[int, ...],
    network: Any,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """Answers before and after refinement, (1, C, *roi): a window that the automatic run left out is refined now.

    The refine network is given a window as large as those of the automatic run, since in a smaller one it may not know where it is; of its
    answer the window of the click is kept, as far as no window, nor an earlier click, answered there before. Where a reader's labels are
    what is corrected, or a plain sliding window ran, there is nothing to refine: it stands.
    """
    grid = tuple(on_grid.shape[2:])
    below = read_below(mosaic, grid, 0, corner, roi)
    if tuple(mosaic.coarse.shape[2:]) == mosaic.size or len(settings.levels) < 2:
        return below, now
    stands = _refined_before(mosaic, grid, corner, roi)
    if float(stands.float().mean()) >= _COVERED:
        return below, now
    stages = stages_of(network, settings.levels)
    index = min(range(len(stages.refine)), key=lambda i: _distance(mosaic, i + 1, grid))
    call = NetworkCall(stages.refine[index], stages.conditioned[index], autocast=settings.autocast)
    wide = tuple(max(r, own) for r, own in zip(roi, full_roi(settings.roi_size, grid), strict=True))
    start = click_corner(click.position, mosaic.size, grid, wide)
    answer = call(_read(on_grid, start, wide), [], below=read_below(mosaic, grid, 0, start, wide))
    if isinstance(answer, dict):
        answer = next(iter(answer.values()))
    answer = answer[0] if isinstance(answer, (list, tuple)) else answer
    inside = [slice(c - s, c - s + r) for c, s, r in zip(corner, start, roi, strict=True)]
    return below, torch.where(stands.to(now.device), now, answer[spatial(inside)].to(now.dtype))


def _distance(mosaic: Mosaic, level: int, grid: Sequence[int]) -> float:
    return (
        abs(math.log(math.prod(mosaic.grid_size(level)) / math.prod(grid))) if level <= len(mosaic.layers) else math.inf
    )


def _refined_before(mosaic: Mosaic, grid: Sequence[int], corner: Sequence[int], roi: Sequence[int]) -> Tensor:
    """Where in a window of a grid some level has an answer of its own, or the image ends; (1, 1, *roi) bool."""
    places = [np.arange(c, c + r) for c, r in zip(corner, roi, strict=True)]
    beyond = [torch.from_numpy((at < 0) | (at >= g)) for at, g in zip(places, grid, strict=True)]
    done = torch.zeros((1, 1, *roi), dtype=torch.bool)
    for axis, outside in enumerate(beyond):
        done |= outside.reshape([-1 if i == axis + 2 else 1 for i in range(done.ndim)])
    for level in range(1, len(mosaic.layers) + 1):
        own = mosaic.grid_size(level)
        rows = [
            np.clip((2 * np.clip(at, 0, g - 1) + 1) * o // (2 * g), 0, o - 1)
            for at, g, o in zip(places, grid, own, strict=True)
        ]
        covered = mosaic.covered(level, tuple(slice(int(r[0]), int(r[-1]) + 1) for r in rows)).cpu()
        for axis, row in enumerate(rows, start=2):
            covered = covered.index_select(axis, torch.from_numpy(row - row[0]))
        done |= covered
    return done


def _read(image: Tensor, corner: Sequence[int], roi: Sequence[int]) -> Tensor:
    """A window of an image (1, Ci, *grid); ground outside is zero, as padding of the sliding window is."""
    low = [max(c, 0) for c in corner]
    high = [min(c + r, n) for c, r, n in zip(corner, roi, image.shape[2:], strict=True)]
    inside = image[spatial([slice(a, b) for a, b in zip(low, high, strict=True)])]
    pads = [(a - c, c + r - b) for a, b, c, r in zip(low, high, corner, roi, strict=True)]
    return F.pad(inside, [n for pair in reversed(pads) for n in pair])


def _honoured(answer: Tensor, clicks: Sequence[Click], corner: Sequence[int], activation: str) -> Tensor:
    """Move the logits (1, C, *roi) around each click that the answer contradicts."""
    answer = answer.clone()
    roi = tuple(answer.shape[2:])
    # The last word counts most.
    for click in clicks:
        place = [p - c for p, c in zip(click.position, corner, strict=True)]
        at = tuple(round(p) for p in place)
        if not all(0 <= a < r for a, r in zip(at, roi, strict=True)):
            continue
        values = answer[spatial([slice(a, a + 1) for a in at])].flatten()
        # A ball in which the answer agrees, surer towards the click; nothing outside it is touched.
        ball = _MARGIN * (2 * gaussian(place, roi, _BALL_SIGMA).to(answer) - 1)
        ball = torch.where(ball >= 0, ball, -torch.inf)
        if activation == "softmax":
            others = torch.cat([answer[0, : click.label], answer[0, click.label + 1 :]]).amax(dim=0)
            if float(values[click.label]) < float(others[at]) + _MARGIN:
                answer[0, click.label] = torch.maximum(answer[0, click.label], others + ball)
            continue
        for channel in range(answer.shape[1]):
            if click.label == channel + 1 and float(values[channel]) < _MARGIN:
                answer[0, channel] = torch.maximum(answer[0, channel], ball)
            elif click.label == 0 and float(values[channel]) > -_MARGIN:
                answer[0, channel] = torch.minimum(answer[0, channel], -ball)
    return answer


def gaussian(centre: Sequence[float], roi: Sequence[int], sigma: float) -> Tensor:
    """A Gaussian over a window, (*roi), of height 1 at a centre in voxels of it; ``sigma`` in voxels too."""
    out = torch.ones(())
    for c, r in zip(centre, roi, strict=True):
        out = out[..., None] * torch.exp(-((torch.arange(r, dtype=torch.float32) - c) ** 2) / (2 * sigma**2))
    return out
