"""Reading windows from an image: one indexed read for a whole batch on an accelerator.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``K`` windows, ``D`` spatial axes, ``*roi`` window size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

import torch
import torch.nn.functional as F
from monai.utils import PytorchPadMode, look_up_option
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.grid import spatial

__all__ = ["WindowSource", "gather_windows", "pad_image"]


class WindowSource(ABC):
    """An image that is read window by window, such as one on disk, in place of a tensor (1, Ci, *spatial).

    Attributes:
        device: where its windows are put.
    """

    device: torch.device

    @abstractmethod
    def padded(self, before: Sequence[int], after: Sequence[int], mode: str, cval: float) -> WindowSource:
        """The same image with its spatial axes padded, see `pad_image`."""

    @abstractmethod
    def windows(self, corners: Tensor, size: Sequence[int]) -> Tensor:
        """Windows (K, Ci, *size) at corners (K, D)."""


@overload
def pad_image(
    image: Tensor, before: Sequence[int], after: Sequence[int], *, mode: str = ..., cval: float = ...
) -> Tensor: ...
@overload
def pad_image(
    image: Tensor | WindowSource, before: Sequence[int], after: Sequence[int], *, mode: str = ..., cval: float = ...
) -> Tensor | WindowSource: ...
def pad_image(
    image: Tensor | WindowSource,
    before: Sequence[int],
    after: Sequence[int],
    *,
    mode: str = "constant",
    cval: float = 0.0,
) -> Tensor | WindowSource:
    """Pad the spatial axes of an image with the modes of MONAI's sliding window.

    Args:
        image: (B, Ci, *spatial), or a source of windows.
        before: voxels to add before each axis.
        after: voxels to add after each axis.
        mode: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        cval: value for ``"constant"``.

    Returns:
        The padded image, or ``image`` itself when there is nothing to add.

    Raises:
        LevelError: when the image is too small for the mode.
    """
    amounts = [n for pair in reversed(list(zip(before, after, strict=True))) for n in pair]
    if not any(amounts):
        return image
    if isinstance(image, WindowSource):
        return image.padded(before, after, mode, cval)
    how = str(look_up_option(mode, PytorchPadMode).value)
    try:
        return F.pad(image, amounts, mode=how, value=cval if how == "constant" else None)
    except RuntimeError as error:
        raise LevelError(
            f"an image of spatial size {tuple(image.shape[2:])} cannot be padded by {tuple(before)} and {tuple(after)} "
            f"voxels with padding_mode={how!r}; use 'replicate' or 'constant', or a smaller roi_size or halo."
        ) from error


def gather_windows(image: Tensor | WindowSource, batch_index: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """Read windows from a batch of (padded) images.

    Args:
        image: (B, Ci, *spatial), or a source of windows.
        batch_index: (K,) which image each window is read from.
        corners: (K, D) first voxel of each window; all windows lie inside the image.
        size: window size in voxels.

    Returns:
        (K, Ci, *size), contiguous.
    """
    if isinstance(image, WindowSource):
        return image.windows(corners, size)
    if image.device.type == "cpu":
        # Copies of whole rows; an indexed read works number by number.
        out = image.new_empty((len(corners), image.shape[1], *size))
        for k, (index, corner) in enumerate(zip(batch_index.tolist(), corners.tolist(), strict=True)):
            out[k] = image[index : index + 1][spatial([slice(c, c + n) for c, n in zip(corner, size, strict=True)])][0]
        return out
    view = image
    for axis, n in enumerate(size):
        view = view.unfold(axis + 2, n, 1)
    where: tuple[Tensor | slice, ...] = (
        batch_index.to(image.device),
        slice(None),
        *corners.to(image.device).unbind(dim=1),
    )
    return view[where].contiguous()
