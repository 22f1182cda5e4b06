"""The score ``"gain"``: a small network says what refining each place is expected to gain.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*grid`` the grid of the level below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_dis.errors import NetworkError
from monai_dis.inferers.call import mixed_precision
from monai_dis.inferers.grid import resample
from monai_dis.inferers.operations import Cost, count_operations
from monai_dis.inferers.plan import SparsePlan

__all__ = ["Scorer", "scorers_of"]


@dataclass(frozen=True)
class Scorer:
    """The scorer of one sparse level.

    Args:
        network: takes the image (B, Ci, *grid) and the logits (B, C, *grid) of the level below, gives (B, 1, *grid).
        level: number of the level, for messages.
        autocast: type of mixed precision, see `monai_dis.inferers.IterativeInferer`.
    """

    network: Callable[..., Any]
    level: int
    autocast: str | None = None

    def __call__(self, image: Tensor, logits: Tensor, device: torch.device | str) -> Tensor:
        """Expected gain of every voxel of the level below.

        Args:
            image: (B, Ci, *spatial) at full resolution.
            logits: (B, C, *grid) answer of the level below.
            device: where the network runs.

        Returns:
            (B, 1, *grid) in [0, 1], on the device of ``logits``. What is not a number counts as the largest gain.

        Raises:
            NetworkError: when the answer has another shape.
        """
        grid = tuple(logits.shape[2:])
        with mixed_precision(self.autocast, torch.device(device)):
            gain = self.network(resample(image, grid).detach().to(device), logits.detach().to(device))
        expected = (logits.shape[0], 1, *grid)
        if not isinstance(gain, Tensor) or tuple(gain.shape) != expected:
            found = tuple(gain.shape) if isinstance(gain, Tensor) else type(gain).__name__
            raise NetworkError(f"the scorer of level {self.level} must return shape {expected}, got {found}.")
        return gain.to(logits.device, logits.dtype).nan_to_num(nan=1.0).clamp(0.0, 1.0)

    def cost(self, like: Tensor, grid: Sequence[int], channels: int) -> Cost:
        """What one image costs; no voxels, since a scorer is small beside the networks.

        Args:
            like: tensor of the image's channels, type and device.
            grid: of the level below.
            channels: logit channels.
        """
        one = like.new_empty((1,))
        inputs = [one.expand(1, like.shape[1], *grid), one.expand(1, channels, *grid)]
        return Cost(count_operations(self.network, inputs), 0)


def scorers_of(
    plans: Sequence[SparsePlan], networks: Sequence[Callable[..., Any] | None], autocast: str | None = None
) -> list[Scorer | None]:
    """The scorers of the levels that score by gain.

    Raises:
        NetworkError: when there is none for such a level.
    """
    scorers: list[Scorer | None] = []
    for plan, network in zip(plans, networks, strict=True):
        if plan.score == "gain" and network is None:
            raise NetworkError(
                f"level {plan.index} is scored by gain, but the network has no scorer for it; give TwoStageNet a "
                "scorer, or choose the score entropy."
            )
        scorers.append(Scorer(network, plan.index, autocast) if plan.score == "gain" and network is not None else None)
    return scorers
