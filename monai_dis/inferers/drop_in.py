"""The drop-in for a sliding window and a network that somebody already trained: no retraining, one line changed.

With one network there is no coarse network, so the first pass has to be that network where it is still at home: on the
image at full resolution, or as little below it as the budget asks for. Which first pass that is depends on how many
windows an image has.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.inferers.inferer import SliceInferer, SlidingWindowInferer
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.budget import Budget
from monai_dis.inferers.grid import grid_size, per_axis
from monai_dis.inferers.inferer import IterativeInferer
from monai_dis.inferers.level import Level
from monai_dis.inferers.result import IterativeResult
from monai_dis.inferers.run import check_inputs, run_levels
from monai_dis.inferers.windows import full_roi, window_grid

__all__ = ["DropInInferer", "default_share", "drop_in_levels"]

SHARE = 0.3
# Of the sliding window that the caller had.
_SAVING = 0.8
# By itself, not by its value: a caller may ask for the same.
_DEFAULT = Budget(sliding_window=SHARE)
# Of the budget, what a first pass in windows may take: it answers as the sliding window does, but for their borders.
_IN_WINDOWS = 0.8
# A whole image at once is not what the network was trained on and leaves more to mend: what it may take at the most (it is
# padded a little), and what of the budget is kept for windows, whole ones, since a part of one mends nothing.
_AT_ONCE = 0.9
_KEPT = 0.4
# Networks are at home a little below full resolution, since most are trained with scaling as augmentation.
_SCALES = (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4)
# A window a third as long along one axis as along another: slices lie so far apart there that none can be spared.
_THIN = 3
# A whole image of more than this many windows may not fit into memory in one pass.
_WHOLE = 8


def drop_in_levels(size: Sequence[int], roi_size: Sequence[int | None] | int, share: float = SHARE) -> list[Level]:
    """The levels for one network and an image of a size: the finest first pass that the budget pays for.

    In order of scale, the first that is cheap enough: windows without overlap at four fifths of the budget, or the whole image
    in one pass (up to the size of eight windows), which leaves two fifths of the budget, in whole windows. After a first pass
    in windows at full resolution further windows join its average, where ground in doubt lies at their borders; after any
    other they take its place. An axis along which a window has less than a third of its longest side keeps full resolution:
    its slices are thick.

    Args:
        size: spatial size of the image.
        roi_size: window size of the network.
        share: budget, as a share of the operations of a sliding window at overlap 0.5.

    Returns:
        A dense and a sparse level. The dense one is at scale 4 where the budget pays for none.

    Example:
        >>> [level.scale for level in drop_in_levels((512, 512, 512), 96)]
        [1, 1]
        >>> [level.scale for level in drop_in_levels((200, 144, 88), 96)]
        [1.1, 1]
        >>> [level.scale for level in drop_in_levels((256, 256, 38), (128, 128, 24))]
        [(1.2, 1.2, 1), 1]
    """
    roi = full_roi(roi_size, size)
    window = math.prod(roi)
    thin = [_THIN * n < max(roi) for n in roi]
    budget = share * len(window_grid(size, roi, 0.5)) * window
    at_once = min(budget - math.floor(_KEPT * budget / window) * window, _AT_ONCE * budget, _WHOLE * window)
    for each in _SCALES:
        scale = tuple(1 if flat else each for flat in thin) if any(thin) and each > 1 else each
        grid = grid_size(size, scale)
        # Windows first: they are what the network was trained on, its normalisation over each instance included.
        if len(window_grid(grid, roi, 0.0)) * window <= _IN_WINDOWS * budget:
            merge = "average" if each == 1 else "blend"
            return [Level(scale, roi_size=roi_size, overlap=0), Level(1, selection="depth", merge=merge)]
        if math.prod(grid) <= at_once:
            return [Level(scale), Level(1, selection="depth", merge="blend")]
    return [Level(scale), Level(1, selection="depth", merge="blend")]


def default_share(size: Sequence[int], roi_size: Sequence[int | None] | int, overlap: float | Sequence[float]) -> float:
    """The budget where none is given, as a share of the operations of a sliding window at overlap 0.5.

    0.3 of that, and never more than four fifths of the sliding window at the caller's own overlap: whoever changes the one line pays
    less than before.

    Example:
        >>> default_share((512, 512, 512), 96, 0.5), round(default_share((512, 512, 512), 96, 0), 3)
        (0.3, 0.173)
    """
    roi = full_roi(roi_size, size)
    own, half = (len(window_grid(size, roi, o)) for o in (overlap, 0.5))
    return min(SHARE, _SAVING * own / half)


class DropInInferer(IterativeInferer):
    """``monai.inferers.SlidingWindowInferer`` at less than a third of its cost at overlap 0.5, with the network as it is.

    The arguments are those of ``SlidingWindowInferer``. The first pass is the network itself on the whole image, or in
    windows without overlap, at or a little below full resolution (see `drop_in_levels`); the rest of the budget goes into
    windows of the sliding window, where the answer is in doubt and far from the middle of a window.

    Args:
        roi_size: window size.
        sw_batch_size: windows per network call; None finds a number, see `IterativeInferer`.
        overlap: that of the sliding window that is replaced. Windows are chosen among the positions of one with this overlap, or 0.5 where
            it is less, since windows across the borders of others are what is looked for.
        mode: ``"constant"`` or ``"gaussian"`` weights where windows overlap.
        sigma_scale: width of the Gaussian as a share of the window.
        padding_mode: padding of images smaller than a window.
        cval: value for ``"constant"`` padding.
        sw_device: device of windows and network.
        device: device of the answer.
        progress: show a progress bar.
        cache_roi_weight_map: compute the weights of a window now and keep them as ``roi_weight_map``.
        cpu_thresh: images of more voxels than this are put together on the CPU.
        buffer_steps: taken for the contract's sake; the answer is composed slab by slab.
        buffer_dim: likewise.
        with_coord: give the network the places of the windows too.
        budget: limits per image, see `Budget`; when not given 0.3 of the operations of the sliding window at overlap 0.5, and four fifths
            of those at the given overlap at the most, see `default_share`.

    Raises:
        LevelError: when an argument is out of range.
        BudgetError: when a limit is.

    Example:
        >>> inferer = DropInInferer(roi_size=(16, 16), sw_batch_size=4, overlap=0.5, mode="gaussian")
        >>> inferer(torch.rand(1, 1, 64, 64), lambda x: torch.cat([x, 1 - x], 1)).shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int,
        sw_batch_size: int | None = 1,
        overlap: Sequence[float] | float = 0.5,
        mode: str = "constant",
        sigma_scale: Sequence[float] | float = 0.125,
        padding_mode: str = "constant",
        cval: float = 0.0,
        sw_device: torch.device | str | None = None,
        device: torch.device | str | None = None,
        progress: bool = False,
        cache_roi_weight_map: bool = False,
        cpu_thresh: int | None = None,
        buffer_steps: int | None = None,
        buffer_dim: int = -1,
        with_coord: bool = False,
        *,
        budget: Budget | Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(
            roi_size,
            sw_batch_size,
            overlap,
            mode,
            sigma_scale,
            padding_mode,
            cval,
            sw_device,
            device,
            progress,
            cache_roi_weight_map,
            cpu_thresh,
            buffer_steps,
            buffer_dim,
            with_coord,
            coarse_scale=2,
            budget=_DEFAULT if budget is None else budget,
        )

    @classmethod
    def of(
        cls, inferer: SlidingWindowInferer, budget: Budget | Mapping[str, float | None] | None = None
    ) -> DropInInferer:
        """The drop-in for a sliding window that is there already.

        Args:
            inferer: MONAI's ``SlidingWindowInferer`` or ``SlidingWindowInfererAdapt``.
            budget: as for the class.

        Raises:
            LevelError: when it is a sliding window of another kind, such as ``SliceInferer``.
        """
        if not isinstance(inferer, SlidingWindowInferer) or isinstance(inferer, SliceInferer):
            raise LevelError(
                f"a drop-in takes the place of MONAI's SlidingWindowInferer, got {type(inferer).__name__}; "
                "give DropInInferer the arguments of a sliding window instead."
            )
        made = cls(
            inferer.roi_size,
            inferer.sw_batch_size,
            inferer.overlap,
            inferer.mode,
            inferer.sigma_scale,
            str(getattr(inferer.padding_mode, "value", inferer.padding_mode)),
            inferer.cval,
            inferer.sw_device,
            inferer.device,
            inferer.progress,
            cpu_thresh=inferer.cpu_thresh,
            buffer_steps=inferer.buffer_steps,
            buffer_dim=inferer.buffer_dim,
            with_coord=inferer.with_coord,
            budget=budget,
        )
        return made.replaced(roi_weight_map=inferer.roi_weight_map)

    def run(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> IterativeResult:
        """See `IterativeInferer.run`; the levels are those for the size of the inputs."""
        check_inputs(inputs)
        settings, size, given = self.settings, inputs.shape[2:], self.settings.overlap
        wide = tuple(max(0.5, float(share)) for share in per_axis(given, len(size)))
        budget = settings.budget
        if budget is _DEFAULT:
            budget = Budget(sliding_window=default_share(size, settings.roi_size, given))
        share = budget.sliding_window
        levels = drop_in_levels(size, settings.roi_size, SHARE if share is None else share)
        widened = replace(
            settings,
            levels=tuple(levels),
            budget=budget,
            overlap=wide,
            given_overlap=given,
        )
        return run_levels(inputs, network, widened, args, kwargs)
