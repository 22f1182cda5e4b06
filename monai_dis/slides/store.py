"""What a run keeps on disk while it works: maps in tiles, refined windows, choices. Whole or absent, so that a killed run goes on.

Letters in shapes: ``C`` channels, ``K`` windows, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.slides.regions import Region

__all__ = ["TileFiles", "WindowFile", "open_work_folder"]

_CACHED_WINDOWS = 64


def open_work_folder(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Make the folder of a run, or take up that of a run that was killed; one of another identity is emptied.

    Args:
        folder: for files of this run alone.
        identity: what the results depend on, in plain JSON types.

    Returns:
        whether there is something to go on with.
    """
    mark, text = folder / "run.json", json.dumps(identity, sort_keys=True)
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return True
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with atomic_path(mark) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return False


class TileFiles:
    """A map (C, X, Y) of float32 in one file per tile; an empty file stands for a tile of the same values throughout.

    Args:
        folder: for these files alone; made when missing.
        grid: columns and rows.
        tile: columns and rows of a tile.
        fill: (C) values of the tiles that were not computed.
        shift: columns and rows by which the first tiles are smaller.
    """

    def __init__(
        self, folder: Path, grid: Sequence[int], tile: Sequence[int], fill: Tensor, shift: Sequence[int] = (0, 0)
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.grid, self.tile, self.shift = folder, tuple(grid), tuple(tile), tuple(shift)
        self.fill = fill

    def tiles(self) -> Iterator[tuple[Path, Region]]:
        """The file and the region of each tile, column by column."""
        counts = [-(-(n + s) // t) for n, s, t in zip(self.grid, self.shift, self.tile, strict=True)]
        for place in product(*(range(n) for n in counts)):
            yield self._path(place), self._region(place)

    def write(self, path: Path, values: Tensor | None) -> None:
        """Write one tile (C, X, Y); None for one that was not computed."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            if values is not None:
                np.save(file, values.float().cpu().numpy())

    def read(self, region: Sequence[slice]) -> Tensor:
        """(1, C, *region)."""
        size = [part.stop - part.start for part in region]
        out = torch.empty((1, len(self.fill), *size))
        first = [(part.start + s) // t for part, s, t in zip(region, self.shift, self.tile, strict=True)]
        last = [(part.stop - 1 + s) // t for part, s, t in zip(region, self.shift, self.tile, strict=True)]
        for place in product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
            tile = self._region(place)
            into, take = [], []
            for part, whole in zip(region, tile, strict=True):
                low, high = max(part.start, whole.start), min(part.stop, whole.stop)
                into.append(slice(low - part.start, high - part.start))
                take.append(slice(low - whole.start, high - whole.start))
            path = self._path(place)
            if path.stat().st_size == 0:
                out[0][:, into[0], into[1]] = self.fill.reshape(-1, 1, 1)
            else:
                # Mapped for this one copy: what is kept mapped would count as memory in use.
                out[0][:, into[0], into[1]] = torch.from_numpy(np.load(path, mmap_mode="c")[:, take[0], take[1]])
        return out

    def _path(self, place: Sequence[int]) -> Path:
        return self.folder / f"{place[0]}_{place[1]}.npy"

    def _region(self, place: Sequence[int]) -> Region:
        parts = [
            slice(max(p * t - s, 0), min((p + 1) * t - s, n))
            for p, t, s, n in zip(place, self.tile, self.shift, self.grid, strict=True)
        ]
        return parts[0], parts[1]


class WindowFile(Sequence[Tensor]):
    """The logits of refined windows, one record each in one file; takes the place of the list of tensors in a layer.

    Records are only ever added. What a killed run left of a record is cut off.

    Args:
        path: the file.
        shape: (C, *roi) of a window.
    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        self.path, self.shape = path, tuple(shape)
        self._record = 4 * int(np.prod(self.shape))
        self._order: list[int] | None = None
        self._cache: OrderedDict[int, Tensor] = OrderedDict()
        path.touch()
        self._count = path.stat().st_size // self._record
        os.truncate(path, self._count * self._record)

    def __len__(self) -> int:
        return self._count

    def extend(self, windows: Iterable[Tensor]) -> None:
        """Add windows (C, *roi)."""
        values = [w.float().cpu().numpy() for w in windows]
        with self.path.open("ab") as file:
            file.write(np.stack(values).tobytes())
        self._count += len(values)

    def reorder(self, order: Sequence[int]) -> None:
        """From now on window ``k`` is record ``order[k]``."""
        self._order = list(order)
        self._cache.clear()

    def __getitem__(self, index: Any) -> Any:
        """Window (C, *roi)."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        record = index if self._order is None else self._order[index]
        values = np.fromfile(self.path, dtype=np.float32, count=self._record // 4, offset=record * self._record)
        window = torch.from_numpy(values.reshape(self.shape))
        self._cache[index] = window
        if len(self._cache) > _CACHED_WINDOWS:
            self._cache.popitem(last=False)
        return window
