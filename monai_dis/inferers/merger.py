"""For users of ``monai.inferers.PatchInferer``: a merger that starts from the coarse answer.

MONAI's ``AvgMerger`` leaves NaN where a splitter yielded no window; here the coarse answer stands there.

Letters in shapes: ``B`` batch, ``C`` classes, ``*patch`` window size, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers.merger import Merger
from torch import Tensor

from monai_dis.errors import NetworkError
from monai_dis.inferers.level import MERGES, MODES, check_choice
from monai_dis.inferers.merge import importance_map
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.splitter import DisSplitter

__all__ = ["DisMerger"]


class DisMerger(Merger):
    """Merge windows onto the coarse answer of a `DisSplitter`.

    Args:
        merged_shape: (B, C, *spatial) of the padded images; ``PatchInferer`` gives it.
        cropped_shape: (B, C, *spatial) of the images; ``PatchInferer`` gives it.
        coarse: the splitter that chose the windows, which has the coarse answer.
        merge: ``"blend"``, ``"replace"`` or ``"entropy"``.
        mode: ``"constant"`` or ``"gaussian"`` weights where windows overlap.
        sigma_scale: width of the Gaussian as a share of the window.
        device: device of the answer; that of the coarse answer when not given.

    Raises:
        LevelError: when an argument is out of range.
    """

    def __init__(
        self,
        merged_shape: Sequence[int],
        cropped_shape: Sequence[int] | None = None,
        *,
        coarse: DisSplitter,
        merge: str = "blend",
        mode: str = "constant",
        sigma_scale: float | Sequence[float] = 0.125,
        device: torch.device | str | None = None,
    ) -> None:
        # "average" goes with a level 0 in windows, which a splitter has not.
        check_choice("merge", merge, [m for m in MERGES if m != "average"])
        check_choice("mode", mode, MODES)
        super().__init__(merged_shape=merged_shape, cropped_shape=cropped_shape, device=device)
        base = coarse.coarse
        if self.merged_shape[1] != base.channels:
            raise NetworkError(
                f"the network of the windows returns {self.merged_shape[1]} channels, the coarse network {base.channels}; "
                "both must have the same classes."
            )
        logits = base.coarse if device is None else base.coarse.to(device)
        self._mode, self._sigma_scale = mode, sigma_scale
        self._mosaic = Mosaic(logits, base.size, base.activation, [Layer(base.size, (), merge)])
        self._values: Tensor | None = None

    def aggregate(self, values: Tensor, location: Sequence[int]) -> None:
        """Add one window of all images.

        Args:
            values: (B, C, *patch).
            location: its first voxel in the images.
        """
        if self.is_finalized:
            raise ValueError("the merger is finalized already; make a new one for further windows.")
        layer = self._mosaic.layers[0]
        if not layer.roi:
            layer.roi = tuple(values.shape[2:])
            layer.importance = importance_map(layer.roi, self._mode, self._sigma_scale)
        self._mosaic.add_windows(1, range(len(values)), [location] * len(values), values)

    def finalize(self) -> Tensor:
        """The merged answer (B, C, *spatial), composed once."""
        if self._values is None:
            self._values = self._mosaic.compose()
            self.is_finalized = True
        return self._values
