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

__all__ = ["RandWindowd", "sample_affine"]


class RandWindowd(Randomizable, MapTransform):
    """Cut ``num_samples`` windows, each with its own position, scale and affine jitter, out of all keys of an item.

    Best for training the refine network, and (with ``scales=[coarse_scale]``) the coarse network and a full-resolution baseline too.

    Args:
        keys: keys to read, each a tensor ``(C, *spatial)`` over the same field of view.
        full_size: size in pixels of the full-resolution grid that ``scales`` refer to.
        roi_size: size of a window in pixels of its level's grid.
        scales: scales of the levels to draw from, uniformly; 1 is full resolution.
        stored_scale: scale of the grid on which the image is stored in the item (1: full resolution).
        label_key: key of the label, class indices ``(1, *spatial)``; read at ``label_factor`` times the window's resolution.
        label_factor: resolution of the label relative to the window, so that a coarse answer can be judged at a finer grid.
        num_classes: 1 keeps the label as a foreground map, larger numbers read every class apart and take the likeliest.
        coarse_key: key of the coarse logits ``(C, *grid)`` that guide the choice of windows (and condition the refine network).
        uncertain: share of windows centred where the coarse answer is uncertain.
        wrong: share of windows centred where the coarse answer is wrong; the rest is drawn at random.
        num_samples: number of windows per item.
        rotate, shear, zoom: ranges of the jitter: radians, tangents, and the largest relative enlargement.
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
        full_size: Sequence[int],
        roi_size: Sequence[int],
        scales: Sequence[float] = (1.0,),
        *,
        stored_scale: float = 1.0,
        label_key: str = "label",
        label_factor: int = 1,
        num_classes: int = 1,
        coarse_key: str | None = None,
        uncertain: float = 0.0,
        wrong: float = 0.0,
        num_samples: int = 1,
        rotate: float = 0.0,
        shear: float = 0.0,
        zoom: float = 0.0,
        jitter_prob: float = 0.5,
        shift: float = 0.0,
        flip: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.full_size = np.asarray(full_size, dtype=float)
        self.roi_size = tuple(int(r) for r in roi_size)
        self.scales = tuple(float(s) for s in scales)
        self.stored_scale = float(stored_scale)
        self.label_key, self.label_factor, self.num_classes = label_key, int(label_factor), int(num_classes)
        self.coarse_key, self.uncertain, self.wrong = coarse_key, uncertain, wrong
        self.num_samples = num_samples
        self.rotate, self.shear, self.zoom, self.jitter_prob = rotate, shear, zoom, jitter_prob
        self.shift, self.flip = shift, flip
        self.padding_mode = padding_mode

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Draw ``num_samples`` windows of an item."""
        item = dict(data)
        weights = self._centre_weights(item)
        return [self._window(item, weights) for _ in range(self.num_samples)]

    def _window(
        self, item: dict[Hashable, Any], weights: tuple[np.ndarray | None, np.ndarray | None]
    ) -> dict[Hashable, Any]:
        scale = self.scales[self.R.randint(len(self.scales))]
        centre = self._draw_centre(weights, scale)
        jittered = self.R.rand() < self.jitter_prob
        matrix = self._matrix(scale, jittered)
        if not jittered:
            centre = self._on_grid(centre, scale)
        out = dict(item)
        for key in self.key_iterator(item):
            if key == self.label_key:
                size = tuple(r * self.label_factor for r in self.roi_size)
                out[key] = self._read_label(item[key], matrix, centre, size)
            elif key == self.coarse_key:
                out[key] = sample_affine(item[key], matrix, centre, self.roi_size, "border")
            else:
                # Read at the density of the stored grid, then average: the same anti-aliasing as the area resampling of inference.
                density = max(1, round(scale / self.stored_scale))
                fine = sample_affine(
                    item[key], matrix, centre, tuple(r * density for r in self.roi_size), self.padding_mode
                )
                out[key] = _average(fine, density)
        return out

    def _read_label(self, label: Tensor, matrix: np.ndarray, centre: np.ndarray, size: tuple[int, ...]) -> Tensor:
        if self.num_classes == 1:
            return (sample_affine(label.float(), matrix, centre, size, "zeros") >= 0.5).float()
        planes = torch.stack([(label[0] == c).float() for c in range(1, self.num_classes)])
        read = sample_affine(planes, matrix, centre, size, "zeros")
        background = 1.0 - read.sum(0, keepdim=True)
        return torch.cat([background, read]).argmax(0, keepdim=True).float()

    def _centre_weights(self, item: Mapping[Hashable, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Cumulative weights of the coarse grid's cells: where the coarse answer is uncertain, and where it is wrong."""
        if self.coarse_key is None or self.uncertain + self.wrong <= 0:
            return None, None
        logits = item[self.coarse_key].float()
        if logits.shape[0] == 1:
            p = logits.sigmoid()
            target = (
                F.adaptive_avg_pool2d(item[self.label_key].float(), logits.shape[1:])
                if logits.ndim == 3
                else (F.adaptive_avg_pool3d(item[self.label_key].float(), logits.shape[1:]))
            )
            unsure = 1.0 - (2.0 * p - 1.0).abs()
            error = (p - target).abs()
        else:
            p = logits.softmax(0)
            top = p.topk(2, dim=0).values
            unsure = 1.0 - (top[:1] - top[1:])
            nearest = F.interpolate(item[self.label_key].float()[None], size=logits.shape[1:], mode="nearest")[
                0, 0
            ].long()
            error = 1.0 - p.gather(0, nearest[None])
        return _cumulative(unsure[0]), _cumulative(error[0])

    def _draw_centre(self, weights: tuple[np.ndarray | None, np.ndarray | None], scale: float) -> np.ndarray:
        """A window centre in units of the field of view, [0, 1] per axis, so that the window stays inside where it can."""
        draw = self.R.rand()
        cumulative = weights[0] if draw < self.uncertain else weights[1] if draw < self.uncertain + self.wrong else None
        extent = np.minimum(np.asarray(self.roi_size) * scale / self.full_size, 1.0)
        if cumulative is None:
            free, displaced = self.R.rand(len(extent)), self.R.uniform(-self.shift, self.shift, len(extent))
            return np.asarray(extent / 2 + free * (1.0 - extent) + displaced * extent)
        flat = int(np.searchsorted(cumulative.ravel(), self.R.rand() * cumulative.ravel()[-1]))
        cell = np.unravel_index(min(flat, cumulative.size - 1), cumulative.shape)
        jitter = (self.R.rand(len(cell)) - 0.5) * extent * 0.75
        centre = (np.asarray(cell) + self.R.rand(len(cell))) / np.asarray(cumulative.shape) + jitter
        return np.asarray(np.clip(centre, extent / 2, 1.0 - extent / 2))

    def _on_grid(self, centre: np.ndarray, scale: float) -> np.ndarray:
        """The nearest centre whose window begins at a voxel of the level's grid."""
        voxel = scale / self.full_size
        half = np.asarray(self.roi_size) / 2
        return np.asarray((np.round(centre / voxel - half) + half) * voxel)

    def _matrix(self, scale: float, jittered: bool) -> np.ndarray:
        """Matrix from window coordinates in [-1, 1] to half fields of view: flips, and rotation, shear and zoom if jittered."""
        n = len(self.full_size)
        linear = np.diag(np.where(self.R.rand(n) < 0.5, -1.0, 1.0)) if self.flip else np.eye(n)
        if self.flip and n == 2 and self.R.rand() < 0.5 and len(set(self.roi_size)) == 1:
            linear = linear[::-1]
        if jittered:
            angles = self.R.uniform(-self.rotate, self.rotate, 1 if n == 2 else 3)
            shears = self.R.uniform(-self.shear, self.shear, 2 if n == 2 else 6)
            zoom = float(np.exp(self.R.uniform(-1.0, 1.0) * np.log1p(self.zoom)))
            rotation, shear = create_rotate(n, angles.tolist()), create_shear(n, shears.tolist())
            linear = zoom * np.asarray(rotation)[:n, :n] @ np.asarray(shear)[:n, :n] @ linear
        return np.asarray(np.diag(2.0 / self.full_size) @ linear @ np.diag(np.asarray(self.roi_size) * scale / 2))


def sample_affine(x: Tensor, matrix: np.ndarray, centre: np.ndarray, size: Sequence[int], padding_mode: str) -> Tensor:
    """Read a window of ``size`` from ``x`` linearly.

    Args:
        x: tensor ``(C, *spatial)``.
        matrix: ``(n, n)``, from window coordinates in [-1, 1] to coordinates in [-1, 1] of the field of view, in the order of the axes.
        centre: centre of the window in units of the field of view, [0, 1] per axis.
        size: spatial size of the result.
        padding_mode: as ``torch.nn.functional.grid_sample``.

    Returns:
        tensor ``(C, *size)``.
    """
    theta = np.concatenate([matrix, (2.0 * centre - 1.0)[:, None]], axis=1)
    n = len(size)
    # grid_sample counts axes from the last one: reverse rows, and the columns of the linear part.
    theta = np.concatenate([theta[::-1, :n][:, ::-1], theta[::-1, n:]], axis=1)
    grid = F.affine_grid(torch.as_tensor(theta.copy(), dtype=torch.float32)[None], [1, 1, *size], align_corners=False)
    return F.grid_sample(x[None].float(), grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)[0]


def _average(x: Tensor, density: int) -> Tensor:
    if density == 1:
        return x
    return F.avg_pool2d(x, density) if x.ndim == 3 else F.avg_pool3d(x, density)


def _cumulative(weights: Tensor) -> np.ndarray:
    w = weights.numpy().astype(np.float64) + 1e-6
    return np.asarray(w.cumsum().reshape(w.shape))
