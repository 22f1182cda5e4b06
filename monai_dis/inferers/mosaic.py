"""The answer kept as what it is: a dense coarse map and, for each sparse level, its refined windows.

Nothing of the size of ``C`` x full resolution exists until it is asked for, and any region can be asked for alone. With
``F_0`` the coarse logits on grid 0 and ``F_l`` those of ``F_(l-1)`` on grid ``l`` with the windows of level ``l``
merged in, the answer is ``F_L`` on the image's grid.

Letters in shapes: ``B`` batch, ``C`` channels, ``K`` windows, ``D`` spatial axes, ``*roi`` window size, ``*size`` the
image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.footprint import Footprint
from monai_dis.inferers.grid import Region, resample_part, slabs, source_region, spatial
from monai_dis.inferers.merge import (
    Placed,
    average_windows,
    fade,
    fade_radius,
    importance_map,
    merge_below,
    window_parts,
)
from monai_dis.inferers.score import uncertainty
from monai_dis.inferers.survey import survey
from monai_dis.inferers.tiles import covering_boxes, numbers_at_once

__all__ = ["Layer", "Mosaic"]


@dataclass
class Layer:
    """The windows of one sparse level.

    Args:
        grid: spatial size of the level's grid.
        roi: window size in voxels of that grid.
        merge: ``"replace"``, ``"blend"``, ``"entropy"`` or ``"average"`` (on a footprint), see `monai_dis.inferers.merge.merge_below`.
        importance: (*roi) weights of the average where windows overlap; constant when not given.
    """

    grid: tuple[int, ...]
    roi: tuple[int, ...]
    merge: str = "blend"
    importance: Tensor | None = None
    images: list[int] = field(default_factory=list, init=False)
    corners: list[tuple[int, ...]] = field(default_factory=list, init=False)
    logits: list[Tensor] = field(default_factory=list, init=False)
    weights: list[Tensor | None] = field(default_factory=list, init=False)
    _places: tuple[np.ndarray, np.ndarray] = field(
        default_factory=lambda: (np.zeros(0, dtype=np.int64), np.zeros(0)), init=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.images)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Index in the batch (K,) and corner (K, D) of each window."""
        if len(self._places[0]) != len(self.images):
            self._places = np.asarray(self.images, dtype=np.int64), np.asarray(self.corners, dtype=np.int64)
        return self._places

    def touching(self, start: Sequence[int], stop: Sequence[int], image: int | None) -> np.ndarray:
        """Indices (K,) of the windows that meet a region, of one image or of all, in the order they were added."""
        if not self.images:
            return np.zeros(0, dtype=np.int64)
        images, corners = self.places()
        meets = ((corners < np.asarray(stop)) & (corners + np.asarray(self.roi) > np.asarray(start))).all(axis=1)
        return np.flatnonzero(meets if image is None else meets & (images == image))

    def placed(self, start: Sequence[int], stop: Sequence[int], image: int | None) -> Iterator[Placed]:
        """The windows of `touching` in their places; those of ``image`` alone count as index 0."""
        for k in self.touching(start, stop, image).tolist():
            yield (self.images[k] if image is None else 0), self.corners[k], self.logits[k], self.weights[k]


class Mosaic:
    """Coarse logits and refined windows of a batch of images, composed on demand.

    Args:
        coarse: (B, C, *grid0) logits of level 0.
        size: spatial size of the images.
        activation: ``"softmax"`` or ``"sigmoid"``, for labels and for merging by entropy.
        layers: the sparse levels, coarse to fine, without windows at first.
        footprint: the windows of level 0, where it ran in windows; a layer above may then be averaged with it.

    Example:
        >>> mosaic = Mosaic(torch.zeros(1, 1, 2, 2), (4, 4), "sigmoid", [Layer((4, 4), (2, 2), "replace")])
        >>> mosaic.add_windows(1, [0], [(2, 2)], torch.ones(1, 1, 2, 2))
        >>> mosaic.labels()[0, 0].tolist()
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """

    #: Whether the coarse logits are in memory as a whole; where they are not, nothing asks for more than a region of them.
    in_memory = True

    def __init__(
        self,
        coarse: Tensor,
        size: Sequence[int],
        activation: str,
        layers: Sequence[Layer] = (),
        footprint: Footprint | None = None,
    ) -> None:
        self.coarse = coarse
        self.size = tuple(int(s) for s in size)
        self.activation = activation
        self.layers = list(layers)
        self.footprint = footprint

    @property
    def channels(self) -> int:
        """Number ``C`` of logit channels."""
        return int(self.coarse.shape[1])

    @property
    def images(self) -> int:
        """Number ``B`` of images."""
        return int(self.coarse.shape[0])

    def grid_size(self, level: int) -> tuple[int, ...]:
        """Spatial size of a level's grid; level 0 is the coarse map."""
        return tuple(self.coarse.shape[2:]) if level == 0 else self.layers[level - 1].grid

    def add_windows(
        self,
        level: int,
        images: Sequence[int],
        corners: Sequence[Sequence[int]],
        logits: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        """Add refined windows; what is composed afterwards contains them.

        Args:
            level: a sparse level, 1 or above.
            images: index in the batch of each window.
            corners: first voxel of each window on the level's grid.
            logits: (K, C, *roi).
            weight: (*roi) of these windows in the average; the layer's importance when not given.

        Raises:
            LevelError: when the level does not exist or the shape does not fit it.
        """
        if not 1 <= level <= len(self.layers):
            raise LevelError(f"level must be a sparse level between 1 and {len(self.layers)}, got {level}.")
        layer = self.layers[level - 1]
        if tuple(logits.shape) != (len(images), self.channels, *layer.roi) or len(corners) != len(images):
            raise LevelError(
                f"windows of level {level} have shape ({len(images)}, {self.channels}, *{layer.roi}), "
                f"got {tuple(logits.shape)} with {len(corners)} corners."
            )
        layer.images.extend(int(i) for i in images)
        layer.corners.extend(tuple(int(c) for c in corner) for corner in corners)
        layer.logits.extend(logits.to(device=self.coarse.device, dtype=self.coarse.dtype).unbind(0))
        own = None if weight is None else weight.to(device=self.coarse.device, dtype=self.coarse.dtype)
        layer.weights.extend([own] * len(images))

    def to(self, device: torch.device | str) -> Mosaic:
        """Move the answer to a device; this mosaic itself, as a module does."""
        self.coarse = self.coarse.to(device)
        for layer in self.layers:
            # One by one, so that what has moved makes room for what has not.
            for k, logits in enumerate(layer.logits):
                layer.logits[k] = logits.to(device)
            layer.weights[:] = [None if w is None else w.to(device) for w in layer.weights]
        return self

    def with_layer(self, layer: Layer) -> Mosaic:
        """The same answer with one more sparse level above; what is added to it does not change this one."""
        return Mosaic(self.coarse, self.size, self.activation, [*self.layers, layer], self.footprint)

    def compose(self, region: Region | None = None) -> Tensor:
        """Logits on the image's grid.

        Args:
            region: slices of the image, one per axis; only they are computed, with the bits of the whole. None: all.

        Returns:
            (B, C, *region).
        """
        if region is not None:
            return self.on(self.size, len(self.layers), region)
        out = self.coarse.new_empty((self.images, self.channels, *self.size))
        for part in slabs(self.size, self.images * self.channels):
            out[spatial(part)] = self.on(self.size, len(self.layers), part)
        return out

    def labels(self) -> Tensor:
        """Class indices, piece by piece, so that ``C`` x full resolution never exists.

        Returns:
            see `monai_dis.inferers.score.hard_labels`.
        """
        labels, _ = survey(self, labels=True, score_size=None)
        assert labels is not None
        return labels

    def uncertainty(
        self, method: str = "entropy", *, size: Sequence[int] | None = None, level: int | None = None
    ) -> Tensor:
        """Uncertainty of the answer, slab by slab.

        Args:
            method: see `monai_dis.inferers.score.uncertainty`.
            size: grid to compute it on, by interpolating logits; the image's when not given.
            level: use the answer up to this level; the last when not given.

        Returns:
            (B, 1, *size) in [0, 1].
        """
        size = self.size if size is None else tuple(size)
        level = len(self.layers) if level is None else level
        out = torch.empty((self.images, 1, *size), dtype=self.coarse.dtype, device=self.coarse.device)
        for part in slabs(size, self.images * self.channels):
            logits = self.on(size, level, part)
            out[spatial(part)] = uncertainty(logits, method, activation=self.activation)
        return out

    def grid(self, level: int, region: Region | None = None, *, below: Tensor | None = None) -> Tensor:
        """Logits ``F_level`` on the level's own grid, its windows merged in.

        Args:
            level: the last level that counts.
            region: slices of its grid; all of it when not given.
            below: (B, C, *region) ``F_(level-1)`` on the same grid and region, where the caller has it.

        Returns:
            (B, C, *region).
        """
        return self._at(level, _whole(self.grid_size(level), region), None, below)

    def on(self, size: Sequence[int], level: int, region: Region | None = None, *, image: int | None = None) -> Tensor:
        """Logits ``F_level`` interpolated to any grid of the image's field of view.

        Args:
            size: spatial size of the grid.
            level: the last level that counts.
            region: slices of that grid; only what lies under them is computed.
            image: one image of the batch; all when not given.

        Returns:
            (B, C, *region), or (1, C, *region) for one image.
        """
        source = self.grid_size(level)
        need = source_region(source, size, region)
        part = self._at(level, need, image)
        return resample_part(part, [s.start for s in need], source, size, region)

    def covered(self, level: int, region: Region | None = None, *, image: int | None = None) -> Tensor:
        """Where a sparse level has windows; (B, 1, *region) bool on its grid."""
        return self._mask(level, _whole(self.layers[level - 1].grid, region), image).to(self.coarse.device)

    def _mask(self, level: int, region: tuple[slice, ...], image: int | None) -> Tensor:
        """`covered` on the CPU, where the corners are: an accelerator would have to be waited for."""
        layer = self.layers[level - 1]
        start, stop = [s.start for s in region], [s.stop for s in region]
        shape = [b - a for a, b in zip(start, stop, strict=True)]
        mask = np.zeros((self.images if image is None else 1, 1, *shape), dtype=bool)
        for index, corner, *_ in layer.placed(start, stop, image):
            parts = window_parts(corner, layer.roi, start, stop)
            assert parts is not None
            mask[index, 0][parts[0]] = True
        return torch.from_numpy(mask)

    def _at(self, level: int, region: tuple[slice, ...], image: int | None, below: Tensor | None = None) -> Tensor:
        if level == 0:
            return self._dense(region, image)
        layer = self.layers[level - 1]
        if below is None:
            if self._hides(level, region, image):
                count = self.images if image is None else 1
                size = [r.stop - r.start for r in region]
                return self._average(level, region, self.coarse.new_empty((count, self.channels, *size)), image)[0]
            below = self.on(layer.grid, level - 1, region, image=image)
        boxes = _boxes_with_windows(layer, region, image, numbers_at_once(below.device) // (len(below) * self.channels))
        if boxes == [region]:
            return self._merged(level, region, below, image)
        out = below.clone() if boxes else below  # it may be the coarse map itself
        for box in boxes:
            inside = spatial([slice(t.start - r.start, t.stop - r.start) for t, r in zip(box, region, strict=True)])
            out[inside] = self._merged(level, box, out[inside], image)
        return out

    def _dense(self, region: tuple[slice, ...], image: int | None) -> Tensor:
        """The coarse logits of a region of grid 0."""
        batch = slice(None) if image is None else slice(image, image + 1)
        return self.coarse[batch][spatial(region)]

    def _merged(self, level: int, box: tuple[slice, ...], base: Tensor, image: int | None) -> Tensor:
        """The windows of a level merged into the answer below on a small part of its grid."""
        layer = self.layers[level - 1]
        refined, weight = self._average(level, box, base, image)
        below = None
        if layer.merge == "blend":
            fading = self._fade(level, box, image)
            if fading is None:
                return refined
            weight = fading
        if layer.merge == "average":
            assert self.footprint is not None
            below = self.footprint.weight([s.start for s in box], base)
        return merge_below(base, refined, weight, layer.merge, self.activation, below)

    def _average(self, level: int, region: tuple[slice, ...], like: Tensor, image: int | None) -> tuple[Tensor, Tensor]:
        """Mean of a level's windows on a region and their summed weight, see `average_windows`."""
        layer = self.layers[level - 1]
        start, stop = [s.start for s in region], [s.stop for s in region]
        return average_windows(layer.placed(start, stop, image), self._importance(layer), like, start)

    def _hides(self, level: int, region: tuple[slice, ...], image: int | None) -> bool:
        """Whether the level below shows nowhere, so that it need not be brought to this grid: no border is near."""
        layer = self.layers[level - 1]
        if not layer.images:
            return False
        if layer.merge != "blend":  # other merges look at weights, which may be zero, or at the level below itself
            return False
        grown = [part for part, _ in _grown(region, fade_radius(layer.roi), layer.grid)]
        start, stop = [g.start for g in grown], [g.stop for g in grown]
        area = math.prod(b - a for a, b in zip(start, stop, strict=True)) * (self.images if image is None else 1)
        # Windows that are too few to cover it need not be drawn.
        if len(layer.touching(start, stop, image)) * math.prod(layer.roi) < area:
            return False
        return bool(self._mask(level, tuple(grown), image).all())

    def importance(self, level: int) -> Tensor:
        """Weight (*roi) of each voxel of a sparse level's windows."""
        return self._importance(self.layers[level - 1])

    def _importance(self, layer: Layer) -> Tensor:
        if layer.importance is None:
            layer.importance = importance_map(layer.roi)
        layer.importance = layer.importance.to(device=self.coarse.device, dtype=self.coarse.dtype)
        return layer.importance

    def _fade(self, level: int, region: tuple[slice, ...], image: int | None) -> Tensor | None:
        """The fade on a region; None where it is 1 everywhere.

        Coverage is read twice the radius around the region; beyond the image all is covered.
        """
        layer = self.layers[level - 1]
        radius = fade_radius(layer.roi)
        grown, inside = zip(*_grown(region, radius, layer.grid), strict=True)
        mask = self._mask(level, grown, image)
        if bool(mask.all()):
            return None
        size = [p.stop - p.start + 4 * r for p, r in zip(region, radius, strict=True)]
        padded = torch.ones((mask.shape[0], 1, *size), dtype=torch.bool)
        padded[spatial(inside)] = mask
        return fade(padded.to(self.coarse.device), radius).to(self.coarse.dtype)


def _grown(region: Sequence[slice], radius: Sequence[int], grid: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """A region grown by twice the radius, per axis: what of it lies inside the grid, and where in the grown region."""
    for part, r, n in zip(region, radius, grid, strict=True):
        first, last = max(part.start - 2 * r, 0), min(part.stop + 2 * r, n)
        before = first - (part.start - 2 * r)
        yield slice(first, last), slice(before, before + last - first)


def _whole(size: Sequence[int], region: Region | None) -> tuple[slice, ...]:
    if region is None:
        return tuple(slice(0, n) for n in size)
    return tuple(slice(*part.indices(n)) for part, n in zip(region, size, strict=True))


def _boxes_with_windows(
    layer: Layer, region: tuple[slice, ...], image: int | None, most: int
) -> list[tuple[slice, ...]]:
    """The parts of a region that windows meet, made of tiles of a window's size: what lies between costs no merging.

    Args:
        layer: the windows.
        region: slices of the layer's grid.
        image: one image of the batch; all when None.
        most: voxels per part.
    """
    roi = np.asarray(layer.roi)
    start, stop = np.asarray([s.start for s in region]), np.asarray([s.stop for s in region])
    near = layer.touching(start.tolist(), stop.tolist(), image)
    if len(near) == 0:
        return []
    origin = start // roi
    corners = layer.places()[1][near]
    first = np.maximum(corners, start) // roi - origin
    last = (np.minimum(corners + roi, stop) - 1) // roi - origin + 1
    marked = np.zeros((stop - 1) // roi - origin + 1, dtype=bool)
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        marked[tuple(slice(i, j) for i, j in zip(a, b, strict=True))] = True
    edges = [
        np.clip((o + np.arange(n + 1)) * r, s.start, s.stop)
        for o, n, r, s in zip(origin, marked.shape, layer.roi, region, strict=True)
    ]
    return [
        tuple(slice(int(e[a]), int(e[b])) for e, (a, b) in zip(edges, box, strict=True))
        for box in covering_boxes(marked, edges, most)
    ]
