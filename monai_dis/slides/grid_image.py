"""A slide on the grid of one level: read from the nearest level of the file, brought to the grid, prepared for the network.

Letters in shapes: ``Ci`` channels, ``K`` windows, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from monai_dis.inferers.gather import WindowSource, pad_image
from monai_dis.inferers.grid import resample_part, source_region
from monai_dis.slides.pyramid import Pyramid, Size

__all__ = ["GridImage", "as_tensor"]


@dataclass(frozen=True)
class GridImage(WindowSource):
    """The image on a grid of its field of view; nothing is read before it is asked for.

    Args:
        pyramid: the file.
        grid: columns and rows.
        prepare: (Ci, X, Y) of the file's values as float32 to what the network takes, the same for every region.
    """

    pyramid: Pyramid
    grid: Size
    prepare: Callable[[Tensor], Tensor]
    _before: tuple[int, ...] = (0, 0)
    _mode: str = "constant"
    _cval: float = 0.0
    level: int = field(init=False, default=0)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where regions are read to."""
        return torch.device("cpu")

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", self.pyramid.level_of(self.grid))

    def read(self, region: Sequence[slice]) -> Tensor:
        """(1, Ci, *region), inside the grid."""
        size, field = self.pyramid.sizes[self.level], self.pyramid.field_of(self.level)
        need = source_region(size, self.grid, region, field)
        corner = [part.start for part in need]
        raw = self.pyramid.read(self.level, corner, [part.stop - part.start for part in need])
        values = self.prepare(as_tensor(raw))[None]
        return resample_part(values, corner, size, self.grid, region, field)

    def padded(self, before: Sequence[int], after: Sequence[int], mode: str, cval: float) -> GridImage:
        """See `monai_dis.inferers.gather.WindowSource`."""
        return replace(self, _before=tuple(before), _mode=mode, _cval=cval)

    def windows(self, corners: Tensor, size: Sequence[int]) -> Tensor:
        """See `monai_dis.inferers.gather.WindowSource`."""
        return torch.cat([self._window(corner, size) for corner in corners.tolist()])

    def _window(self, corner: Sequence[int], size: Sequence[int]) -> Tensor:
        region, before, after = [], [], []
        for c, extent, shift, n in zip(corner, size, self._before, self.grid, strict=True):
            start, stop = c - shift, c - shift + extent
            region.append(slice(max(start, 0), min(stop, n)))
            before.append(max(-start, 0))
            after.append(max(stop - n, 0))
        return pad_image(self.read(region), before, after, mode=self._mode, cval=self._cval)


def as_tensor(values: np.ndarray) -> Tensor:
    """Pixels of any type as float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
