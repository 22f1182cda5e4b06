"""Ground that holds no tissue, by one rule on the overview, so that no network looks at it.

A pixel of the overview is empty where it is as bright and grey as glass (all colours 225 or more of 255, 18 apart at most) or as dark
as the border of a photograph (all colours 14 at most). What is empty and one pixel or less from tissue counts as tissue. The rule is for
8-bit images in colour; of other images everything is looked at.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from monai_dis.slides.regions import under

__all__ = ["RULE", "Tissue", "find_tissue"]

_GLASS, _GREY, _DARK = 225, 18, 14

RULE = (
    f"empty where all colours are {_GLASS} or more and {_GREY} apart at most (glass), or {_DARK} at most (dark), on the overview; "
    "not within a pixel of tissue"
)


@dataclass(frozen=True)
class Tissue:
    """Where a slide has tissue.

    Args:
        mask: (X, Y) bool on the grid of the overview.
    """

    mask: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Share of the slide that is looked at."""
        return float(self.mask.mean())

    def meets(self, region: Sequence[slice], grid: Sequence[int]) -> bool:
        """Whether a region of any grid of the field of view has tissue."""
        return bool(self.mask[under(region, grid, self.mask.shape)].any())

    def on(self, region: Sequence[slice], grid: Sequence[int]) -> NDArray[np.bool_]:
        """Which voxels of a region of any grid of the field of view have their centre on tissue, (X, Y)."""
        x, y = (
            (2 * np.arange(part.start, part.stop) + 1) * m // (2 * n)
            for part, n, m in zip(region, grid, self.mask.shape, strict=True)
        )
        return self.mask[np.ix_(x, y)]


def find_tissue(overview: NDArray[np.generic]) -> Tissue:
    """Apply the rule of this module to an overview (C, X, Y)."""
    if overview.dtype != np.uint8 or overview.shape[0] != 3:
        return Tissue(np.ones(overview.shape[1:], dtype=bool))
    low, high = overview.min(axis=0).astype(np.int16), overview.max(axis=0).astype(np.int16)
    empty = ((low >= _GLASS) & (high - low <= _GREY)) | (high <= _DARK)
    return Tissue(binary_dilation(~empty, structure=np.ones((3, 3), dtype=bool)))
