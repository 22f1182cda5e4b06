"""The oracle: windows chosen by the gain that their refinement really has, which nobody knows in practice.

What it reaches at a budget is what a perfect score would; the share of its gain that a score captures is that score's figure of merit.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import ResampleToMatch
from torch import Tensor

from monai_dis.engines.rival_scorers import GivenScorer, with_scorer
from monai_dis.engines.stage_maps import realised_gain
from monai_dis.errors import DataError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.result import IterativeResult

__all__ = ["OracleInferer"]


class OracleInferer(IterativeInferer):
    """An inferer that is told the truth: it refines everywhere first, then spends its budget where that paid.

    Args:
        inferer: levels, windows and merging; its score is left aside.
        truth_of: from an image's file to its label ``(1 or C, *spatial)``, a ``MetaTensor``: class indices, or a mask for each
            overlapping class.
    """

    def __init__(self, inferer: IterativeInferer, truth_of: Callable[[str], MetaTensor]) -> None:
        # The arguments were checked when the other was made.
        self.settings = inferer.with_score("gain").settings
        self._truth_of = truth_of

    def run(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> IterativeResult:
        """Segment one image (1, Ci, *spatial) that knows its file; arguments as for `IterativeInferer.run`.

        Raises:
            DataError: when the image does not know the file that it was read from.
        """
        plain = copy(self)
        if not isinstance(inputs, MetaTensor) or "filename_or_obj" not in inputs.meta or len(inputs) != 1:
            raise DataError("the oracle needs one image at a time that knows its file; read it with ReadImaged.")
        label = self._truth_of(str(inputs.meta["filename_or_obj"]))
        truth = ResampleToMatch(mode="nearest", padding_mode="border")(label, inputs[0])
        nowhere = GivenScorer(torch.zeros((1, 1, *[1] * (inputs.ndim - 2)), device=inputs.device))
        everywhere = IterativeInferer.run(
            plain.with_budget(Budget.everywhere()), inputs, with_scorer(network, nowhere), *args, **kwargs
        )
        mosaic = everywhere.mosaic
        gain = realised_gain(
            mosaic.coarse[0], mosaic.compose()[0], torch.as_tensor(truth).to(inputs.device), mosaic.activation
        )
        scorer = GivenScorer(gain.sum(0)[None, None])
        return super().run(inputs, with_scorer(network, scorer), *args, **kwargs)
