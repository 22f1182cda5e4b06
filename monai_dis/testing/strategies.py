"""Hypothesis strategies for images, windows, budgets and affines.

Images are made by torch from a drawn seed: hypothesis shrinks sizes and options, not voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from monai_dis.inferers.budget import Budget

__all__ = ["Case", "affines", "budgets", "cases", "images", "roi_sizes", "spatial_sizes"]

_LARGEST = {1: 70, 2: 70, 3: 70}
_MOST_VOXELS = 24_000


@dataclass(frozen=True)
class Case:
    """One image with windows that fit its number of axes.

    Args:
        image: (B, Ci, *spatial) float32.
        classes: number of logit channels for a network.
        roi_size: window size, possibly larger than the image.
        overlap: share of a window that its neighbour covers.
        coarse_scale: scale of level 0.
        mode: ``"constant"`` or ``"gaussian"``.
    """

    image: Tensor
    classes: int
    roi_size: tuple[int, ...]
    overlap: float
    coarse_scale: float
    mode: str

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return self.image.ndim - 2

    @property
    def windowing(self) -> dict[str, Any]:
        """The case's arguments of `monai_dis.inferers.IterativeInferer`."""
        return {
            "roi_size": self.roi_size,
            "overlap": self.overlap,
            "coarse_scale": self.coarse_scale,
            "mode": self.mode,
        }


@st.composite
def spatial_sizes(draw: st.DrawFn, dims: int, *, smallest: int = 1) -> tuple[int, ...]:
    """Spatial sizes of 1 to 70 voxels per axis, odd ones as often as even, of bounded volume."""
    sizes: list[int] = []
    for _ in range(dims):
        used = 1
        for size in sizes:
            used *= size
        most = max(smallest, min(_LARGEST[dims], _MOST_VOXELS // used))
        sizes.append(draw(st.integers(smallest, most)))
    return tuple(draw(st.permutations(sizes)))


@st.composite
def roi_sizes(draw: st.DrawFn, dims: int, *, smallest: int = 4) -> tuple[int, ...]:
    """Window sizes, some larger than small images."""
    most = 40 if dims < 3 else 20
    return tuple(draw(st.integers(smallest, most)) for _ in range(dims))


@st.composite
def images(draw: st.DrawFn, dims: int, *, smallest: int = 1, channels: int | None = None) -> Tensor:
    """Float images (B, Ci, *spatial) of normal noise, B and Ci of 1 to 3."""
    size = draw(spatial_sizes(dims, smallest=smallest))
    batch = draw(st.integers(1, 3))
    inputs = draw(st.integers(1, 3)) if channels is None else channels
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    return torch.randn((batch, inputs, *size), generator=generator)


@st.composite
def cases(draw: st.DrawFn, *, dims: tuple[int, ...] = (2, 3), smallest: int = 1) -> Case:
    """Images with windows: 2D and 3D, any batch, 1 to 5 classes, images smaller than a window among them."""
    d = draw(st.sampled_from(dims))
    return Case(
        image=draw(images(d, smallest=smallest)),
        classes=draw(st.integers(1, 5)),
        roi_size=draw(roi_sizes(d)),
        overlap=draw(st.sampled_from([0.0, 0.25, 0.4, 0.5])),
        coarse_scale=draw(st.sampled_from([1.0, 2.0, 2.5, 4.0, 8.0])),
        mode=draw(st.sampled_from(["constant", "gaussian"])),
    )


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    """Budgets with any of their limits."""
    shares = st.floats(0, 1, allow_nan=False)
    return Budget(
        windows=draw(st.none() | st.integers(0, 20)),
        coverage=draw(st.none() | shares),
        operations=draw(st.none() | st.floats(0, 3, allow_nan=False)),
        min_score=draw(st.none() | shares),
    )


@st.composite
def affines(draw: st.DrawFn, dims: int) -> Tensor:
    """Voxel-to-world matrices (dims + 1, dims + 1): any spacing, rotation, flip, axis order and origin."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    rotation, _ = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64))
    spacing = torch.tensor([draw(st.floats(0.1, 6.0)) for _ in range(dims)], dtype=torch.float64)
    matrix = torch.eye(dims + 1, dtype=torch.float64)
    matrix[:dims, :dims] = rotation * spacing
    matrix[:dims, -1] = 100 * torch.randn(dims, generator=generator, dtype=torch.float64)
    return matrix
