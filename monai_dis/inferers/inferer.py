"""The inferer: deep iterative segmentation with the contract and the arguments of MONAI's sliding window.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from monai.inferers.inferer import Inferer
from monai.utils import PytorchPadMode
from torch import Tensor

from monai_dis.errors import LevelError
from monai_dis.inferers.budget import Budget
from monai_dis.inferers.level import (
    AGGREGATES,
    AUTOCASTS,
    MERGES,
    MODES,
    OUTPUTS,
    SCORES,
    SELECTIONS,
    Level,
    check_choice,
    check_exploration,
    check_overlap,
    check_roi_size,
)
from monai_dis.inferers.merge import importance_map
from monai_dis.inferers.plan import Settings
from monai_dis.inferers.result import IterativeResult
from monai_dis.inferers.run import run_levels

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["IterativeInferer", "iterative_inference"]


class _Setting:
    """An attribute of the inferer that is one of its settings."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, inferer: IterativeInferer | None, owner: type) -> Any:
        return self if inferer is None else getattr(inferer.settings, self._name)

    def __set__(self, inferer: IterativeInferer, value: Any) -> None:
        inferer.settings = inferer.replaced(**{self._name: value}).settings


class IterativeInferer(Inferer):
    """Segment a small version of the image, then spend the rest of the computation where that answer is uncertain.

    A drop-in for ``monai.inferers.SlidingWindowInferer``; the arguments that both have mean the same. Without a budget
    every window is refined, which is the sliding window after a coarse pass. Gradients are recorded where the caller has not switched them
    off, as in MONAI, which keeps every window's activations: infer under ``torch.no_grad()``.

    Args:
        roi_size: window size of the sparse levels in voxels of their grids; entries of None or -1 take the whole axis.
        sw_batch_size: windows per network call; the result does not depend on it. None finds a number: on a GPU as many as fit
            into 70 % of the free memory, by what a first call of one window takes, and 128 at most; on a CPU, and for a level 0
            in windows, as many as hold 2**17 voxels together, 16 at most. Where memory runs out the number is halved on the
            way, down to 1; then the answer is put together on the CPU.
        overlap: share of a window that its neighbour covers, in [0, 1). Windows are chosen among the positions of
            MONAI's sliding window with this overlap: 0 is the contiguous grid, larger values give a finer choice.
        mode: ``"constant"`` or ``"gaussian"`` weights where windows of a level overlap.
        sigma_scale: width of the Gaussian as a share of the window.
        padding_mode: padding of images smaller than a window, and of halos: ``"constant"``, ``"reflect"``,
            ``"replicate"`` or ``"circular"``.
        cval: value for ``"constant"`` padding.
        sw_device: device of windows and networks; that of the input when not given.
        device: device of the answer; that of the input when not given.
        progress: show a progress bar per level.
        cache_roi_weight_map: compute the weights of a window now and keep them as ``roi_weight_map``.
        cpu_thresh: images of more voxels than this are put together on the CPU, where ``device`` is not given.
        buffer_steps: taken for the contract's sake, with no effect: windows are kept as they come, so there is nothing to buffer.
        buffer_dim: likewise.
        with_coord: give the network the places of the windows as its second argument, as MONAI does: slices in the padded
            image, on the grid of the level.
        coarse_scale: scale of level 0 where ``levels`` is not given; the one sparse level then has scale 1.
        budget: `Budget`, a mapping of its fields, ``"auto"`` (windows as long as they are expected to be worth it), or None for
            everywhere; per image.
        levels: levels from coarse to fine (`Level`, mappings of its fields, or scales) in place of ``coarse_scale``.
        activation: ``"softmax"`` or ``"sigmoid"``; softmax for more than one channel when not given. Give ``"sigmoid"``
            for overlapping classes.
        score: ``"entropy"``, ``"margin"``, ``"least_confidence"``, ``"poster"``, or ``"gain"`` where the network has a scorer.
        aggregate: ``"mean"``, ``"sum"`` or ``"max"`` of the uncertainty over a window.
        selection: ``"coverage"``, ``"ranked"`` or ``"depth"``.
        merge: ``"blend"``, ``"replace"``, ``"entropy"`` or ``"average"``.
        exploration: share of each level's windows that go by lost detail instead of the score, see `Level`.
        roi_weight_map: weights of a window in the average, for windows of its shape, in place of ``mode``.
        process_fn: ``(outputs, windows, weights) -> (outputs, weights)``, called after the network on every batch of windows;
            not on a level 0 in one pass, which has none.
        output: ``"logits"``, or ``"labels"``, which are composed slab by slab, so that ``C`` x full resolution never exists.
        autocast: ``"bfloat16"`` or ``"float16"`` runs the networks in mixed precision, ``"auto"`` in ``"bfloat16"`` where the device
            has instructions for it; their logits are averaged and kept in float32 all the same.

    Raises:
        LevelError: when an argument is out of range.
        BudgetError: when a limit is.

    Example:
        >>> inferer = IterativeInferer(roi_size=(8, 8), coarse_scale=4, budget=Budget(windows=2))
        >>> image = torch.rand(1, 1, 32, 32)
        >>> inferer(image, lambda x: 10 * x - 5).shape
        torch.Size([1, 1, 32, 32])
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int,
        sw_batch_size: int | None = 1,
        overlap: Sequence[float] | float = 0.25,
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
        coarse_scale: float | Sequence[float] = 4,
        budget: Budget | Mapping[str, float | None] | str | None = None,
        levels: Sequence[Level | Mapping[str, Any] | float] | None = None,
        activation: str | None = None,
        score: str = "entropy",
        aggregate: str = "mean",
        selection: str = "coverage",
        merge: str = "blend",
        exploration: float = 0.0,
        roi_weight_map: Tensor | None = None,
        process_fn: Callable[..., Any] | None = None,
        output: str = "logits",
        autocast: str | None = None,
    ) -> None:
        super().__init__()
        mode, padding_mode = _word(mode), _word(padding_mode)
        for name, value, choices in (
            ("mode", mode, MODES),
            ("padding_mode", padding_mode, [m.value for m in PytorchPadMode]),
            ("activation", activation, ("softmax", "sigmoid")),
            ("score", score, SCORES),
            ("aggregate", aggregate, AGGREGATES),
            ("selection", selection, SELECTIONS),
            ("merge", merge, MERGES),
            ("output", output, OUTPUTS),
            ("autocast", autocast, AUTOCASTS),
        ):
            check_choice(name, value, choices)
        check_roi_size(roi_size)
        check_overlap(overlap)
        check_exploration(exploration)
        if sw_batch_size is not None:
            if isinstance(sw_batch_size, bool) or int(sw_batch_size) != sw_batch_size or sw_batch_size < 1:
                raise LevelError(
                    f"sw_batch_size must be a whole number of 1 or more, or None to find one, got {sw_batch_size!r}."
                )
            sw_batch_size = int(sw_batch_size)
        chosen = [Level(coarse_scale), Level(1)] if levels is None else [Level.of(level) for level in levels]
        if not chosen:
            raise LevelError("levels must hold one level at least, the dense one.")
        self.settings = Settings(
            levels=tuple(chosen),
            budget=Budget.of(budget),
            roi_size=roi_size,
            sw_batch_size=sw_batch_size,
            overlap=overlap,
            mode=mode,
            sigma_scale=sigma_scale,
            padding_mode=padding_mode,
            cval=cval,
            sw_device=sw_device,
            device=device,
            progress=progress,
            activation=activation,
            score=score,
            aggregate=aggregate,
            selection=selection,
            merge=merge,
            exploration=exploration,
            cpu_thresh=cpu_thresh,
            buffer_steps=buffer_steps,
            buffer_dim=buffer_dim,
            with_coord=with_coord,
            roi_weight_map=roi_weight_map,
            process_fn=process_fn,
            output=output,
            autocast=autocast,
        )
        if cache_roi_weight_map and roi_weight_map is None:
            self.roi_weight_map = _weights_now(roi_size, mode, sigma_scale, device)

    # Those of MONAI's sliding window, for reading and for setting; what is set is checked as what a new inferer is given.
    roi_size = _Setting()
    sw_batch_size = _Setting()
    overlap = _Setting()
    mode = _Setting()
    sigma_scale = _Setting()
    padding_mode = _Setting()
    cval = _Setting()
    sw_device = _Setting()
    device = _Setting()
    progress = _Setting()
    cpu_thresh = _Setting()
    buffer_steps = _Setting()
    buffer_dim = _Setting()
    with_coord = _Setting()
    roi_weight_map = _Setting()

    @property
    def budget(self) -> Budget:
        """The limits of a run, per image."""
        return self.settings.budget

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of a run, coarse to fine."""
        return self.settings.levels

    def replaced(self, **changes: Any) -> Self:
        """The same inferer with other arguments, checked as those of a new one.

        Example:
            >>> IterativeInferer(8, overlap=0.5).replaced(budget=Budget(windows=3)).settings.overlap
            0.5
        """
        settings = {f.name: getattr(self.settings, f.name) for f in fields(self.settings) if f.name != "given_overlap"}
        other = copy(self)
        other.settings = IterativeInferer(**{**settings, **changes}).settings
        return other

    def with_budget(self, budget: Budget | Mapping[str, float | None] | str | None) -> Self:
        """The same inferer with another budget, for curves of quality against cost."""
        return self.replaced(budget=budget)

    def without_level_budgets(self) -> Self:
        """The same inferer without limits of a level's own, so that the run's budget alone counts.

        Example:
            >>> limited = IterativeInferer(8, levels=[4, Level(1, budget={"windows": 2})])
            >>> limited.without_level_budgets().levels[1].budget is None
            True
        """
        return self.replaced(levels=[replace(level, budget=None) for level in self.settings.levels])

    def with_score(self, score: str) -> Self:
        """The same inferer with another score at every level, for comparing scores."""
        return self.replaced(score=score, levels=[replace(level, score=None) for level in self.settings.levels])

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Segment a batch of images.

        Args:
            inputs: (B, Ci, *spatial); a ``MetaTensor`` gives a ``MetaTensor`` of the same geometry.
            network: a `monai_dis.networks.TwoStageNet`, or any callable that takes (K, Ci, *window).
            args: passed on to the network.
            kwargs: passed on to the network; a ``condition`` (B, Ci, *spatial) travels with the image and its windows.

        Returns:
            Logits (B, C, *spatial), or a tuple or dictionary of them where the network answers so; with ``output="labels"``
            the labels of the primary output, see `monai_dis.inferers.mosaic.Mosaic.labels`.
        """
        # MONAI's takes these with each call too.
        for_this_call = {name: kwargs.pop(name) for name in ("device", "buffer_steps", "buffer_dim") if name in kwargs}
        inferer = self.replaced(**for_this_call) if for_this_call else self
        result = inferer.run(inputs, network, *args, **kwargs)
        return result.labels() if self.settings.output == "labels" else result.outputs()

    def run(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> IterativeResult:
        """Segment a batch of images and keep everything: mosaic, statistics, labels, uncertainty.

        Arguments are those of the call. Nothing of the size of ``C`` x full resolution is made until it is asked for.
        """
        return run_levels(inputs, network, self.settings, args, kwargs)


def iterative_inference(
    inputs: Tensor,
    roi_size: Sequence[int] | int,
    sw_batch_size: int | None,
    predictor: Callable[..., Any],
    overlap: Sequence[float] | float = 0.25,
    mode: str = "constant",
    sigma_scale: Sequence[float] | float = 0.125,
    padding_mode: str = "constant",
    cval: float = 0.0,
    sw_device: torch.device | str | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
    roi_weight_map: Tensor | None = None,
    process_fn: Callable[..., Any] | None = None,
    buffer_steps: int | None = None,
    buffer_dim: int = -1,
    with_coord: bool = False,
    *args: Any,
    coarse_scale: float | Sequence[float] = 4,
    budget: Budget | Mapping[str, float | None] | str | None = None,
    levels: Sequence[Level | Mapping[str, Any] | float] | None = None,
    activation: str | None = None,
    score: str = "entropy",
    aggregate: str = "mean",
    selection: str = "coverage",
    merge: str = "blend",
    exploration: float = 0.0,
    cpu_thresh: int | None = None,
    output: str = "logits",
    autocast: str | None = None,
    **kwargs: Any,
) -> Any:
    """`IterativeInferer` as a function, with the arguments of ``monai.inferers.sliding_window_inference``.

    Returns:
        What the inferer returns.
    """
    inferer = IterativeInferer(
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
        coarse_scale=coarse_scale,
        budget=budget,
        levels=levels,
        activation=activation,
        score=score,
        aggregate=aggregate,
        selection=selection,
        merge=merge,
        exploration=exploration,
        cpu_thresh=cpu_thresh,
        buffer_steps=buffer_steps,
        buffer_dim=buffer_dim,
        with_coord=with_coord,
        roi_weight_map=roi_weight_map,
        process_fn=process_fn,
        output=output,
        autocast=autocast,
    )
    return inferer(inputs, predictor, *args, **kwargs)


def _word(value: Any) -> str:
    """The value of one of MONAI's enumerations, or the string itself."""
    return str(getattr(value, "value", value))


def _weights_now(
    roi_size: Any, mode: str, sigma_scale: float | Sequence[float], device: torch.device | str | None
) -> Tensor | None:
    """The weights of a window, as MONAI's sliding window keeps them; None with a warning where its size depends on the image."""
    if not isinstance(roi_size, Sequence) or min(-1 if n is None else n for n in roi_size) <= 0:
        warnings.warn("cache_roi_weight_map=True, but cache is not created. (dynamic roi_size?)", stacklevel=3)
        return None
    return importance_map(roi_size, mode, sigma_scale, device=device or "cpu")
