"""For users of ``monai.inferers.PatchInferer``: a splitter that yields only the windows worth refining.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*patch`` window size, ``*spatial`` one to three
axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.splitter import Splitter
from torch import Tensor

from monai_dis.errors import BudgetError, LevelError
from monai_dis.inferers.budget import Budget, Spending, WindowCost, affordable_windows
from monai_dis.inferers.gain import scorers_of
from monai_dis.inferers.gather import pad_image
from monai_dis.inferers.grid import spatial
from monai_dis.inferers.inferer import IterativeInferer
from monai_dis.inferers.level import Level
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.plan import plan_sparse_levels
from monai_dis.inferers.run import run_levels, score_level
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.stages import stages_of
from monai_dis.inferers.windows import full_roi

__all__ = ["DisSplitter"]


class DisSplitter(Splitter):
    """Split images into the windows that a coarse answer makes worth refining, best first.

    ``PatchInferer`` reads a window from all images of a batch at once, so a window is chosen for all of them, by the image
    that needs it most. Use `monai_dis.inferers.IterativeInferer` for a choice per image, for levels between, or for
    conditioning. Merge with `monai_dis.inferers.DisMerger`, which starts from the coarse answer.

    Args:
        patch_size: window size in voxels.
        coarse_network: network of level 0, small image to logits.
        coarse_scale: scale of level 0.
        overlap: share of a window that its neighbour covers, in [0, 1).
        budget: limits by ``windows``, ``coverage``, ``min_score`` and ``min_gain``; None for everywhere. One window at least is
            yielded, since ``PatchInferer`` makes no answer of none.
        pad_mode: padding, at the end, of images smaller than a window.
        pad_value: value for ``"constant"`` padding.
        device: device of the windows; that of the input when not given.
        options: ``score``, ``aggregate``, ``selection`` and ``activation`` as `IterativeInferer` has them.

    Raises:
        LevelError: when an argument is out of range.
        BudgetError: when the budget limits operations.

    Example:
        >>> from monai.inferers import PatchInferer
        >>> from monai_dis.inferers import DisMerger
        >>> splitter = DisSplitter(8, lambda x: 9 * x, budget=Budget(windows=3))
        >>> inferer = PatchInferer(splitter, DisMerger, coarse=splitter)
        >>> inferer(torch.randn(1, 1, 32, 32), lambda x: 9 * x).shape
        torch.Size([1, 1, 32, 32])
    """

    def __init__(
        self,
        patch_size: Sequence[int] | int,
        coarse_network: Callable[..., Any],
        coarse_scale: float | Sequence[float] = 4,
        overlap: Sequence[float] | float = 0.0,
        *,
        budget: Budget | Mapping[str, float | None] | None = None,
        pad_mode: str = "constant",
        pad_value: float = 0.0,
        device: torch.device | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(patch_size=patch_size, device=device)
        self.budget = Budget.of(budget)
        if self.budget.counts_operations:
            raise BudgetError(
                "a splitter does not know the refine network; give windows, coverage, min_score or min_gain."
            )
        if options.get("exploration"):
            raise LevelError("a splitter chooses by score alone; use IterativeInferer for exploration.")
        self._network = coarse_network
        levels = [Level(coarse_scale), Level(1)]
        self._inferer = IterativeInferer(
            patch_size, 1, overlap, padding_mode=pad_mode, cval=pad_value, levels=levels, **options
        )
        self._mosaic: Mosaic | None = None

    @property
    def coarse(self) -> Mosaic:
        """The coarse answer to the images that were split last, as a mosaic without windows.

        Raises:
            RuntimeError: before the first images were split.
        """
        if self._mosaic is None:
            raise RuntimeError("the splitter has no coarse answer before it has split an image.")
        return self._mosaic

    def get_input_shape(self, inputs: Any) -> tuple[int, ...]:
        """Spatial size of the images (B, Ci, *spatial)."""
        return tuple(inputs.shape[2:])

    def get_padded_shape(self, inputs: Any) -> tuple[int, ...]:
        """Spatial size of the images once they are as large as a window."""
        size = self.get_input_shape(inputs)
        roi = full_roi(self._inferer.settings.roi_size, size)
        return tuple(max(n, r) for n, r in zip(size, roi, strict=True))

    def __call__(self, inputs: Any) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Run the coarse network and yield windows (B, Ci, *patch) with their first voxel in the image.

        Args:
            inputs: (B, Ci, *spatial).
        """
        settings = self._inferer.settings
        dense = replace(settings, levels=settings.levels[:1])
        with torch.no_grad():
            self._mosaic = run_levels(inputs, self._network, dense, (), {}).mosaic
            (plan,) = plan_sparse_levels(settings, inputs)
            (scorer,) = scorers_of([plan], stages_of(self._network, settings.levels).scorers)
            gain = None
            if scorer is not None:
                plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
                image = plain if plain.is_floating_point() else plain.float()
                gain = scorer(image, self._mosaic.coarse, settings.sw_device or image.device)
            scores = score_level(self._mosaic, plan, plan.score_grid(self._mosaic.grid_size(0)), gain)
        shared = replace(scores, score=scores.score.max(0, keepdims=True), cells=scores.cells.max(0, keepdims=True))
        limit = affordable_windows(self.budget, Spending(), WindowCost(plan.windows.share))
        floor = plan.lowest_score(self.budget)
        indices, _ = select_windows(shared, 0, limit=limit, min_score=floor, selection=plan.selection)
        if len(indices) == 0:
            indices, _ = select_windows(shared, 0, limit=1, selection="ranked")

        size = self.get_input_shape(inputs)
        after = [p - n for p, n in zip(self.get_padded_shape(inputs), size, strict=True)]
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        image = pad_image(image, [0] * len(size), after, mode=settings.padding_mode, cval=settings.cval)
        for corner in plan.windows.corners[indices].tolist():
            location = tuple(max(c, 0) for c in corner)
            window = image[spatial([slice(c, c + r) for c, r in zip(location, plan.windows.roi, strict=True)])]
            yield (window if self.device is None else window.to(self.device)), location
