"""The mosaic of a slide: coarse logits in tiles on disk, refined windows in files, composed region by region as any mosaic.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.slides.store import TileFiles, WindowFile

__all__ = ["ComputedPlanes", "SlideMosaic", "keep_on_disk"]

_VOXELS_AT_ONCE = 1 << 18


class SlideMosaic(Mosaic):
    """A mosaic of one image whose coarse logits are never in memory as a whole.

    Args:
        tiles: the coarse logits.
        size: columns and rows of the image.
        activation: ``"softmax"`` or ``"sigmoid"``.
        layers: the sparse levels.
    """

    in_memory = False

    def __init__(self, tiles: TileFiles, size: Sequence[int], activation: str, layers: Sequence[Layer]) -> None:
        # One number stands for the map: its shape, type and device are asked for, its values are read from the tiles.
        shape = torch.empty(1, 1, 1, 1).expand(1, len(tiles.fill), *tiles.grid)
        super().__init__(shape, size, activation, layers)
        self.tiles = tiles

    def _dense(self, region: tuple[slice, ...], image: int | None) -> Tensor:
        return self.tiles.read(region)


def keep_on_disk(layer: Layer, path: Path, channels: int) -> WindowFile:
    """Let a layer keep the logits of its windows in a file."""
    windows = WindowFile(path, (channels, *layer.roi))
    layer.logits = cast("list[Tensor]", windows)  # all that a layer does with its list is to extend and to index it
    return windows


@dataclass(frozen=True)
class ComputedPlanes:
    """A map (1, C, *grid) that is computed when planes of it are asked for, see `monai_dis.inferers.score.Planes`.

    Args:
        shape: (1, C, *grid).
        compute: a region of the grid to (1, C, *region).
    """

    shape: tuple[int, ...]
    compute: Callable[[Sequence[slice]], Tensor]

    def planes(self, start: int, stop: int) -> Tensor:
        """Planes of the first axis, in pieces of bounded size along the second."""
        step = max(1, _VOXELS_AT_ONCE // (stop - start))
        last = self.shape[3]
        parts = [
            self.compute((slice(start, stop), slice(first, min(first + step, last)))) for first in range(0, last, step)
        ]
        return torch.cat(parts, dim=3)
