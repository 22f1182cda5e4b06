"""A network over a whole grid in bounded memory: tile by tile, each with so much ground around it that its borders do not show.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_dis.inferers.grid import spatial
from monai_dis.inferers.merge import Placed, average_windows
from monai_dis.inferers.windows import WindowGrid
from monai_dis.pipeline.device import return_free_memory
from monai_dis.slides.regions import Region
from monai_dis.slides.store import TileFiles

__all__ = ["HALO", "TILE", "Frame", "run_tiles", "tiles_in_windows"]

TILE = 1024  # voxels of a tile's side
HALO = 128  # read around a tile and cut off after the network: what lies farther away hardly reaches its answer

Ground = Callable[[Region], NDArray[np.bool_]]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Frame:
    """A grid padded to a multiple, as one pass over all of it would be, and cut into tiles.

    Multiples of the network's strides begin where they begin in one pass, so that a tile's answer is that of the pass.

    Args:
        grid: columns and rows.
        multiple: that the network asks for.
        tile: side of a tile, rounded up to a multiple.
        halo: voxels around it, likewise.
    """

    grid: tuple[int, ...]
    multiple: int = 1
    tile: int = TILE
    halo: int = HALO

    def __post_init__(self) -> None:
        for name in ("tile", "halo"):
            object.__setattr__(self, name, -(-getattr(self, name) // self.multiple) * self.multiple)

    @property
    def before(self) -> tuple[int, ...]:
        """Padding before each axis."""
        return tuple((-n % self.multiple) // 2 for n in self.grid)

    @property
    def padded(self) -> tuple[int, ...]:
        """Size with the padding."""
        return tuple(n + -n % self.multiple for n in self.grid)

    @property
    def tiles(self) -> tuple[int, ...]:
        """Columns and rows of a tile: an axis that fits into one tile and its surroundings is not cut."""
        return tuple(n if n <= self.tile + 2 * self.halo else self.tile for n in self.padded)

    def read_for(self, region: Sequence[slice]) -> tuple[list[int], list[int]]:
        """Where the network's window for a tile begins and ends, in the padded grid."""
        return self._interval(region, self.halo)

    def read_size(self, region: Sequence[slice]) -> tuple[int, ...]:
        """Size of the network's window for a tile."""
        return tuple(b - a for a, b in zip(*self._interval(region, self.halo), strict=True))

    def tile_size(self, region: Sequence[slice]) -> tuple[int, ...]:
        """Size of the same without its surroundings."""
        return tuple(b - a for a, b in zip(*self._interval(region, 0), strict=True))

    def _interval(self, region: Sequence[slice], margin: int) -> tuple[list[int], list[int]]:
        start, stop = [], []
        for part, before, tile, whole in zip(region, self.before, self.tiles, self.padded, strict=True):
            first = (part.start + before) // tile * tile
            start.append(max(first - margin, 0))
            stop.append(min(first + tile + margin, whole))
        return start, stop


def run_tiles(
    store: TileFiles, frame: Frame, answer: Callable[[list[int], list[int]], Tensor], ground: Ground, report: Report
) -> int:
    """Compute the tiles of a map that are not there yet.

    Args:
        store: of the map.
        frame: how its grid is cut.
        answer: what the network says of a window of the padded grid, from its start and size: (1, C, *size).
        ground: which voxels of a region of the grid (X, Y) are to be answered; the others get the values of the store.
        report: told how many tiles are done and of how many.

    Returns:
        number of network calls.
    """
    calls = 0
    for path, region, here in _unanswered(store, ground, report):
        start, stop = frame.read_for(region)
        values = answer(start, [b - a for a, b in zip(start, stop, strict=True)])
        inside = [
            slice(part.start + before - first, part.stop + before - first)
            for part, before, first in zip(region, frame.before, start, strict=True)
        ]
        store.write(path, _on_ground(values[spatial(inside)][0], here, store.fill))
        del values
        calls += 1
    return calls


def tiles_in_windows(
    store: TileFiles,
    windows: WindowGrid,
    importance: Tensor,
    batch: int,
    answer: Callable[[list[list[int]]], Tensor],
    ground: Ground,
    report: Report,
) -> int:
    """Compute the tiles of a map from the average of windows, as a sliding window over the whole grid would.

    Args:
        store: of the map.
        windows: all of them.
        importance: (*roi) weights in the average.
        batch: windows per call.
        answer: what the network says of windows at corners of the grid: (K, C, *roi).
        ground: which voxels of a region of the grid (X, Y) are to be answered; the others get the values of the store.
        report: told how many tiles are done and of how many.

    Returns:
        number of network calls.
    """
    calls = 0
    corners, roi = torch.from_numpy(windows.corners), torch.tensor(windows.roi)
    for path, region, here in _unanswered(store, ground, report):
        start, stop = _bounds(region)
        near = corners[((corners < torch.tensor(stop)) & (corners + roi > torch.tensor(start))).all(dim=1)].tolist()
        like = torch.zeros(1, len(store.fill), *[b - a for a, b in zip(start, stop, strict=True)])
        placed: list[Placed] = []
        for first in range(0, len(near), batch):
            some = near[first : first + batch]
            placed.extend((0, c, logits, None) for c, logits in zip(some, answer(some).unbind(0), strict=True))
            calls += 1
        values = average_windows(placed, importance, like, start)[0][0]
        store.write(path, _on_ground(values, here, store.fill))
        del placed
    return calls


def _unanswered(store: TileFiles, ground: Ground, report: Report) -> Iterator[tuple[Path, Region, NDArray[np.bool_]]]:
    """Tiles that a network has to be asked for: file, region of the grid, and which of its voxels are to be answered."""
    tiles = list(store.tiles())
    for number, (path, region) in enumerate(tiles):
        report(number, len(tiles))
        if path.exists():
            continue
        here = ground(region)
        if not here.any():
            store.write(path, None)
            continue
        yield path, region, here
        return_free_memory()  # what the layers of one tile took is not on top of what the next ones take
    report(len(tiles), len(tiles))


def _on_ground(values: Tensor, ground: NDArray[np.bool_], fill: Tensor) -> Tensor:
    """(C, X, Y), with the same values wherever nothing is to be answered, so that no border of a tile shows there."""
    return torch.where(torch.from_numpy(ground), values, fill.reshape(-1, 1, 1))


def _bounds(region: Sequence[slice]) -> tuple[list[int], list[int]]:
    return [part.start for part in region], [part.stop for part in region]
