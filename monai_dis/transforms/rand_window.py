"""Draw training windows as inference will choose them: at a level's scale, where the coarse answer is uncertain or wrong.

All keys of an item share one field of view, whatever their grids (image at full resolution, coarse logits at 1/8), so a window is drawn
once in units of the field of view and then read from every key with the same affine jitter. Shapes: ``(C, *spatial)``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms.transform import MapTransform, Randomizable
from monai.transforms.utils import create_rotate, create_shear
from torch import Tensor

from monai_dis.errors import DataError
from monai_dis.transforms.sample_affine import sample_affine

__all__ = ["RandWindowd"]


class RandWindowd(Randomizable, MapTransform):
    """Cut ``num_samples`` windows, each with its own position, scale and affine jitter, out of all keys of an item.

    Best for training the refine network, and (with ``scales=[coarse_scale]``) the coarse network and a full-resolution baseline too.

    Args:
        keys: keys to read, each a tensor ``(C, *spatial)`` over the same field of view.
        full_size: size in pixels of the full-resolution grid that ``scales`` refer to; None for images of different sizes: that of the
            image itself, ``stored_scale`` times the size it has in the item.
        roi_size: size of a window in pixels of its level's grid.
        scales: scales of the levels to draw from, uniformly; 1 is full resolution; each one number, or one per axis.
        stored_scale: scale of the grid on which the image is stored in the item (1: full resolution); one number, or one per axis.
        label_key: key of the label, class indices ``(1, *spatial)``; read at ``label_factor`` times the window's resolution.
        label_factor: resolution of the label relative to the window, so that a coarse answer can be judged at a finer grid; one
            number, or one per axis.
        num_classes: 1 keeps each channel of the label as a foreground map (one class, or several that overlap); larger numbers read
            every class apart and take the likeliest.
        coarse_key: key of the coarse logits ``(C, *grid)`` that condition the refine network.
        centre_key: key of the maps ``(R, *grid)`` of `CentreWeightsd` that guide the choice of windows.
        shares: share of the windows whose centre is drawn from each of these maps; the rest is drawn at random.
        num_samples: number of windows per item.
        rotate, shear, zoom: ranges of the jitter: radians (in 3D one number, or one about each axis), tangents, and the largest
            relative enlargement; a pair for zoom is the least and the largest enlargement of what is seen, such as 0.8 and 1.5.
        spacing: size of a full-resolution voxel along each axis in any unit, where it is not the same: what turns is the body.
        jitter_prob: share of windows with rotation, shear and zoom; the others lie on the level's own grid, sharp as inference sees them.
        shift: largest displacement of a window drawn at random, as a share of its extent; it may reach outside the field of view.
        flip: draw a random flip of every axis, and of the axes of a square window against each other.
        padding_mode: how ground outside the field of view is read, as ``torch.nn.functional.grid_sample``.

    Returns:
        a list of ``num_samples`` items, which MONAI's ``list_data_collate`` joins to a batch.
    """

    def __init__(
        self,
        keys: Sequence[str],
        full_size: Sequence[int] | None,
        roi_size: Sequence[int],
        scales: Sequence[float | Sequence[float]] = (1.0,),
        *,
        stored_scale: float | Sequence[float] = 1.0,
        label_key: str = "label",
        label_factor: int | Sequence[int] = 1,
        num_classes: int = 1,
        coarse_key: str | None = None,
        centre_key: str | None = None,
        shares: Sequence[float] = (),
        num_samples: int = 1,
        rotate: float | Sequence[float] = 0.0,
        shear: float = 0.0,
        zoom: float | Sequence[float] = 0.0,
        spacing: Sequence[float] | None = None,
        jitter_prob: float = 0.5,
        shift: float = 0.0,
        flip: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.full_size = None if full_size is None else np.asarray(full_size, dtype=float)
        self.roi_size = tuple(int(r) for r in roi_size)
        self.scales = [self._per_axis(scale) for scale in scales]
        self.stored_scale = self._per_axis(stored_scale)
        self.label_key, self.num_classes = label_key, int(num_classes)
        self.label_size = tuple(r * int(f) for r, f in zip(self.roi_size, self._per_axis(label_factor), strict=True))
        self.coarse_key, self.centre_key = coarse_key, centre_key
        self.shares = np.cumsum([float(share) for share in shares])
        self.num_samples = num_samples
        self.rotate = self._per_axis(rotate)[: 3 if len(self.roi_size) == 3 else 1]
        self.shear, self.jitter_prob = shear, jitter_prob
        least, largest = zoom if isinstance(zoom, Sequence) else (1 / (1 + zoom), 1 + zoom)
        self.zoom = (float(np.log(least)), float(np.log(largest)))
        self.spacing = self._per_axis(1.0 if spacing is None else spacing)
        self.shift, self.flip = shift, flip
        self.padding_mode = padding_mode

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Draw ``num_samples`` windows of an item."""
        item = dict(data)
        maps = [] if self.centre_key is None else [_cumulative(m) for m in item.pop(self.centre_key)]
        if len(maps) != len(self.shares):
            raise DataError(
                f"{len(self.shares)} shares do not fit {len(maps)} maps of centres; give one share for each map."
            )
        full_size = self._full_size(item)
        return [self._window(item, maps, full_size) for _ in range(self.num_samples)]

    def _full_size(self, item: Mapping[Hashable, Any]) -> np.ndarray:
        if self.full_size is not None:
            return self.full_size
        return np.asarray(np.asarray(item[self.keys[0]].shape[1:], dtype=float) * self.stored_scale)

    def _window(
        self, item: dict[Hashable, Any], maps: Sequence[np.ndarray], full_size: np.ndarray
    ) -> dict[Hashable, Any]:
        scale = self.scales[self.R.randint(len(self.scales))]
        centre = self._draw_centre(maps, scale, full_size)
        jittered = self.R.rand() < self.jitter_prob
        matrix = self._matrix(scale, jittered, full_size)
        if not jittered:
            centre = self._on_grid(centre, scale, full_size)
        out = dict(item)
        for key in self.key_iterator(item):
            if key == self.label_key:
                out[key] = self._read_label(item[key], matrix, centre, self.label_size)
            elif key == self.coarse_key:
                out[key] = sample_affine(item[key], matrix, centre, self.roi_size, "border")
            else:
                # Read at the density of the stored grid, then average: the same anti-aliasing as the area resampling of inference.
                density = [max(1, round(float(d))) for d in scale / self.stored_scale]
                size = tuple(r * d for r, d in zip(self.roi_size, density, strict=True))
                fine = sample_affine(item[key], matrix, centre, size, self.padding_mode)
                out[key] = _average(fine, density)
        return out

    def _read_label(self, label: Tensor, matrix: np.ndarray, centre: np.ndarray, size: tuple[int, ...]) -> Tensor:
        if self.num_classes == 1:
            return (sample_affine(label, matrix, centre, size, "zeros") >= 0.5).float()
        read = sample_affine(label, matrix, centre, size, "zeros", classes=range(1, self.num_classes))
        background = 1.0 - read.sum(0, keepdim=True)
        # the same as argmax, and several times as fast on a CPU
        return torch.cat([background, read]).max(0, keepdim=True).indices.float()

    def _per_axis(self, value: float | Sequence[float]) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=float), (len(self.roi_size),))

    def _draw_centre(self, maps: Sequence[np.ndarray], scale: np.ndarray, full_size: np.ndarray) -> np.ndarray:
        """A window centre in units of the field of view, [0, 1] per axis, so that the window stays inside where it can."""
        which = int(np.searchsorted(self.shares, self.R.rand(), side="right"))
        cumulative = maps[which] if which < len(maps) else None
        extent = np.minimum(np.asarray(self.roi_size) * scale / full_size, 1.0)
        if cumulative is None:
            free, displaced = self.R.rand(len(extent)), self.R.uniform(-self.shift, self.shift, len(extent))
            return np.asarray(extent / 2 + free * (1.0 - extent) + displaced * extent)
        flat = int(np.searchsorted(cumulative.ravel(), self.R.rand() * cumulative.ravel()[-1]))
        cell = np.unravel_index(min(flat, cumulative.size - 1), cumulative.shape)
        jitter = (self.R.rand(len(cell)) - 0.5) * extent * 0.75
        centre = (np.asarray(cell) + self.R.rand(len(cell))) / np.asarray(cumulative.shape) + jitter
        return np.asarray(np.clip(centre, extent / 2, 1.0 - extent / 2))

    def _on_grid(self, centre: np.ndarray, scale: np.ndarray, full_size: np.ndarray) -> np.ndarray:
        """The nearest centre whose window begins at a voxel of the level's grid."""
        voxel = scale / full_size
        half = np.asarray(self.roi_size) / 2
        return np.asarray((np.round(centre / voxel - half) + half) * voxel)

    def _matrix(self, scale: np.ndarray, jittered: bool, full_size: np.ndarray) -> np.ndarray:
        """Matrix from window coordinates in [-1, 1] to half fields of view: flips, and rotation, shear and zoom if jittered."""
        n = len(self.roi_size)
        linear = np.diag(np.where(self.R.rand(n) < 0.5, -1.0, 1.0)) if self.flip else np.eye(n)
        if self.flip and n == 2 and self.R.rand() < 0.5 and len(set(self.roi_size)) == 1:
            linear = linear[::-1]
        if jittered:
            angles = self.R.uniform(-self.rotate, self.rotate)
            shears = self.R.uniform(-self.shear, self.shear, 2 if n == 2 else 6)
            # drawn downwards: what is enlarged comes from less ground
            zoom = float(np.exp(-self.R.uniform(*self.zoom)))
            rotation, shear = create_rotate(n, angles.tolist()), create_shear(n, shears.tolist())
            turned = np.asarray(rotation)[:n, :n] @ np.asarray(shear)[:n, :n]
            linear = zoom * np.diag(1.0 / self.spacing) @ turned @ np.diag(self.spacing) @ linear
        return np.asarray(np.diag(2.0 / full_size) @ linear @ np.diag(np.asarray(self.roi_size) * scale / 2))


def _average(x: Tensor, density: Sequence[int]) -> Tensor:
    if all(d == 1 for d in density):
        return x
    return F.avg_pool2d(x, list(density)) if x.ndim == 3 else F.avg_pool3d(x, list(density))


def _cumulative(weights: Tensor) -> np.ndarray:
    w = weights.numpy().astype(np.float64) + 1e-6
    return np.asarray(w.cumsum().reshape(w.shape))
