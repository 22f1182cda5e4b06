"""Labels and counts of an answer in one pass, over ground that is not known beforehand.

Interpolated logits lie between those they are made of. Where no window lies and all coarse logits that reach into a piece of ground
say the same, so does every voxel there: its label, whether the coarse and the refined answer agree, and mostly whether it is
certain, are known from the small map, and nothing is composed. On medical images that is most of the ground.

Letters in shapes: ``B`` batch, ``C`` channels, ``*tiles`` tiles of the field of view, ``*size`` the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from monai_dis.inferers.calm import CalmGround, calm_ground
from monai_dis.inferers.grid import resample_part, source_rows, spatial
from monai_dis.inferers.score import hard_labels, is_unsure
from monai_dis.inferers.tiles import Box, covering_boxes, exact_boxes, numbers_at_once

if TYPE_CHECKING:
    from monai_dis.inferers.mosaic import Mosaic

__all__ = ["FieldTiles", "VoxelCounts", "field_tiles", "survey"]

# Voxels of the image along an edge of a tile, by number of axes.
_EDGE = {1: 4096, 2: 128, 3: 64}


@dataclass(frozen=True)
class VoxelCounts:
    """What was counted, in voxels.

    Args:
        unsure: (B,) float64, voxels of the score's grid whose entropy is above 0.5.
        both: (B, C) float64, voxels of the finest grid that the coarse and the refined answer give the class.
        either: (B, C) float64, those that the one gives it and those that the other does, added up.
    """

    unsure: Tensor
    both: Tensor
    either: Tensor


@dataclass(frozen=True)
class FieldTiles:
    """The field of view cut into tiles, which are the same ground on every grid.

    Args:
        edges: by grid, the positions of the tiles' borders per axis.
        need: by level, first and one past the last row of its grid that each tile is made of, (tiles, 2) per axis.
    """

    edges: dict[tuple[int, ...], list[np.ndarray]]
    need: list[list[np.ndarray]]

    def part(self, grid: tuple[int, ...], box: Box) -> tuple[slice, ...]:
        """A box of tiles on a grid."""
        return tuple(slice(int(e[a]), int(e[b])) for e, (a, b) in zip(self.edges[grid], box, strict=True))

    def source(self, level: int, box: Box) -> tuple[slice, ...]:
        """What of a level's grid a box of tiles is made of."""
        return tuple(
            slice(int(rows[a:b, 0].min()), int(rows[a:b, 1].max()))
            for rows, (a, b) in zip(self.need[level], box, strict=True)
        )


def survey(
    mosaic: Mosaic, *, labels: bool, score_size: Sequence[int] | None
) -> tuple[Tensor | None, VoxelCounts | None]:
    """Compose an answer once, and keep labels and counts of it.

    Args:
        mosaic: the answer.
        labels: whether labels are wanted.
        score_size: grid on which uncertain ground is counted; None where no counts are wanted.

    Returns:
        Labels as `monai_dis.inferers.score.hard_labels` has them, and the counts.
    """
    finest, last = mosaic.grid_size(len(mosaic.layers)), len(mosaic.layers)
    unsure_on = None if score_size is None else tuple(score_size)
    tiles = field_tiles(mosaic, mosaic.size if labels else None, unsure_on)
    calm = calm_ground(mosaic, tiles.need, unsure_known=unsure_on is not None)
    grid = mosaic.size if labels else finest
    most = numbers_at_once(mosaic.coarse.device) // (mosaic.images * mosaic.channels)
    boxes = covering_boxes(~calm.calm, tiles.edges[grid], most)
    for box in boxes:
        calm.calm[tuple(slice(a, b) for a, b in box)] = False  # calm tiles that come along are composed too
    out = _calm_labels(mosaic, tiles, calm) if labels else None
    tally = _Tally(mosaic, tiles, calm, unsure_on) if unsure_on is not None else None
    for box in boxes:
        need = tiles.source(last, box)
        corner = [s.start for s in need]
        below = mosaic.on(finest, 0, need) if tally is not None else None
        # With one sparse level the coarse answer on its grid is what its windows are merged into.
        logits = mosaic.grid(last, need, below=below if last == 1 else None)
        said = None
        if out is not None:
            part = tiles.part(mosaic.size, box)
            said = hard_labels(resample_part(logits, corner, finest, mosaic.size, part), mosaic.activation)
            out[spatial(part)] = said
        if tally is not None and below is not None:
            tally.add(box, corner, below, logits, said if mosaic.size == finest else None)
    return out, None if tally is None else tally.counts()


def field_tiles(mosaic: Mosaic, label_size: tuple[int, ...] | None, score_size: tuple[int, ...] | None) -> FieldTiles:
    """Cut the field of view into tiles.

    Args:
        mosaic: the answer.
        label_size: grid of the labels, where they are wanted.
        score_size: grid of the uncertainty, where it is wanted.
    """
    finest = mosaic.grid_size(len(mosaic.layers))
    made = {finest, *[size for size in (label_size, score_size) if size is not None]}
    edges: dict[tuple[int, ...], list[np.ndarray]] = {grid: [] for grid in made}
    need: list[list[np.ndarray]] = [[] for _ in range(len(mosaic.layers) + 1)]
    for axis, n in enumerate(mosaic.size):
        count = min(-(-n // _EDGE[len(mosaic.size)]), *[grid[axis] for grid in made])
        for grid in made:
            edges[grid].append(np.arange(count + 1) * grid[axis] // count)
        rows = np.stack([edges[finest][axis][:-1], edges[finest][axis][1:]], axis=1)
        direct = source_rows(mosaic.grid_size(0)[axis], finest[axis], rows)
        for grid in made:
            own = np.stack([edges[grid][axis][:-1], edges[grid][axis][1:]], axis=1)
            rows = _union(rows, source_rows(finest[axis], grid[axis], own))
        need[-1].append(rows)
        for level in reversed(range(len(mosaic.layers))):
            rows = source_rows(mosaic.grid_size(level)[axis], mosaic.grid_size(level + 1)[axis], rows)
            need[level].append(rows if level else _union(rows, direct))
    return FieldTiles(edges, need)


def _union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 1], b[:, 1])], axis=1)


def _calm_labels(mosaic: Mosaic, tiles: FieldTiles, calm: CalmGround) -> Tensor:
    """Labels of the calm tiles, zeros elsewhere."""
    kind = torch.uint8 if mosaic.channels <= 256 else torch.int16
    out = torch.zeros((mosaic.images, calm.labels.shape[1], *mosaic.size), dtype=kind, device=mosaic.coarse.device)
    for image in range(mosaic.images):
        for channel in range(calm.labels.shape[1]):
            said = calm.labels[image, channel]
            for value in np.unique(said[calm.calm]).tolist():
                if value == 0:
                    continue
                for box in exact_boxes(calm.calm & (said == value)):
                    out[image, channel][tiles.part(mosaic.size, box)] = value
    return out


class _Tally:
    """Counts of calm tiles at once, of the others box by box; sums stay on the device until the end."""

    def __init__(self, mosaic: Mosaic, tiles: FieldTiles, calm: CalmGround, score_size: tuple[int, ...]) -> None:
        self._mosaic, self._tiles, self._score_size = mosaic, tiles, score_size
        self._finest = mosaic.grid_size(len(mosaic.layers))
        device = mosaic.coarse.device
        self._unsure = torch.zeros(mosaic.images, dtype=torch.int64, device=device)
        self._both = torch.zeros((mosaic.images, mosaic.channels), dtype=torch.int64, device=device)
        self._either = torch.zeros_like(self._both)
        areas = _areas(tiles.edges[self._finest]) * calm.calm
        given = calm.labels
        if mosaic.activation == "softmax":
            given = given == np.arange(mosaic.channels).reshape(1, -1, *[1] * areas.ndim)
        calmly = torch.from_numpy((given * areas).reshape(*given.shape[:2], -1).sum(-1))
        self._both_calm, self._either_calm = calmly.double(), 2 * calmly.double()
        unsure = calm.unsure * (_areas(tiles.edges[score_size]) * calm.calm)
        self._unsure_calm = torch.from_numpy(unsure.reshape(len(unsure), -1).sum(-1)).double()

    def add(self, box: Box, corner: Sequence[int], below: Tensor, logits: Tensor, labels: Tensor | None) -> None:
        """Count a box of tiles.

        Args:
            box: of tiles.
            corner: first voxel of the logits on the finest grid.
            below: (B, C, *need) coarse logits there.
            logits: (B, C, *need) refined logits there.
            labels: of the refined answer on the box, where they are known.
        """
        mosaic = self._mosaic
        part = self._tiles.part(self._finest, box)
        own = spatial([slice(p.start - c, p.stop - c) for p, c in zip(part, corner, strict=True)])
        after = hard_labels(logits[own], mosaic.activation) if labels is None else labels
        before = after if below is logits else hard_labels(below[own], mosaic.activation)
        self._either += self._count(before) + self._count(after)
        self._both += self._count(after, before)
        left = resample_part(logits, corner, self._finest, self._score_size, self._tiles.part(self._score_size, box))
        self._unsure += _true_in(is_unsure(left, mosaic.activation))[:, 0]

    def _count(self, labels: Tensor, agreeing: Tensor | None = None) -> Tensor:
        """Voxels of each class, (B, C), of `hard_labels`; of those alone where other labels agree, if there are any."""
        if self._mosaic.activation == "sigmoid":
            return _true_in(labels.bool() if agreeing is None else (labels & agreeing).bool())
        counts = []
        for image in range(len(labels)):
            values = labels[image].flatten() if agreeing is None else labels[image][labels[image] == agreeing[image]]
            counts.append(torch.bincount(values, minlength=self._mosaic.channels))
        return torch.stack(counts)

    def counts(self) -> VoxelCounts:
        """All of it, on the CPU."""
        return VoxelCounts(
            self._unsure.cpu().double() + self._unsure_calm,
            self._both.cpu().double() + self._both_calm,
            self._either.cpu().double() + self._either_calm,
        )


def _areas(edges: Sequence[np.ndarray]) -> np.ndarray:
    """Voxels of each tile, (*tiles)."""
    out = np.ones((), dtype=np.int64)
    for cuts in edges:
        out = out[..., None] * np.diff(cuts)
    return out


def _true_in(mask: Tensor) -> Tensor:
    """How many voxels of a box (B, C, *region) are True, as (B, C); bytes add up far faster than booleans."""
    return mask.view(torch.uint8).flatten(2).sum(2, dtype=torch.int32)
