"""The pair of networks that a deep iterative segmentation runs: a coarse one and one or more refine networks.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["CONDITIONINGS", "TwoStageNet"]

CONDITIONINGS = ("none", "logits")


class TwoStageNet(nn.Module):
    """A coarse network, its refine network(s), and what the latter are told about the coarse answer.

    `monai_dis.inferers.IterativeInferer` runs ``coarse`` on the small image and ``refine`` on the chosen windows.

    Args:
        coarse: network for level 0, image (B, Ci, *spatial) to logits (B, C, *spatial).
        refine: one network for all sparse levels, or a list with one per sparse level, coarse to fine.
        conditioning: ``"none"``: ``refine(window)``; ``"logits"``: ``refine(window, logits)``, where the logits are
            those of the level below on the same window (`ResidualRefiner` is built for that).
        scorer: for the score ``"gain"``, one for all sparse levels or a list with one per level: image and logits of the
            level below on that level's grid to the expected gain of refinement (B, 1, *spatial); `GainNet` is one.
        clicks: answers a reader's clicks (`ClickNet`), see `monai_dis.inferers.clicks`; a run without clicks does not touch it.

    Raises:
        NetworkError: when ``conditioning`` is unknown or ``refine`` is an empty list.
    """

    def __init__(
        self,
        coarse: nn.Module,
        refine: nn.Module | Sequence[nn.Module],
        conditioning: str = "none",
        scorer: nn.Module | Sequence[nn.Module] | None = None,
        clicks: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise NetworkError(f"conditioning must be one of {', '.join(CONDITIONINGS)}, got {conditioning!r}.")
        self.coarse = coarse
        self.refine: nn.Module = _one_or_list(refine)
        self.scorer: nn.Module | None = None if scorer is None else _one_or_list(scorer)
        if isinstance(self.refine, nn.ModuleList) and len(self.refine) == 0:
            raise NetworkError("refine must hold one network at least, got an empty list.")
        self.clicks = clicks
        self.conditioning = conditioning

    @property
    def conditioned(self) -> bool:
        """Whether the refine networks take the logits of the level below as a second argument."""
        return self.conditioning == "logits"

    def refiner(self, index: int) -> nn.Module:
        """The refine network of a sparse level, counted from 0 (the coarsest sparse level).

        Raises:
            NetworkError: when there is a list of networks and it has no such entry.
        """
        if not isinstance(self.refine, nn.ModuleList):
            return self.refine
        if not -len(self.refine) <= index < len(self.refine):
            raise NetworkError(
                f"there are {len(self.refine)} refine networks, but sparse level {index} (counted from 0) asks for "
                "one; give one network per sparse level, or a single one for all."
            )
        return self.refine[index]

    def scorer_of(self, index: int) -> nn.Module | None:
        """The scorer of a sparse level, counted from 0; None where there is none."""
        if not isinstance(self.scorer, nn.ModuleList):
            return self.scorer
        return self.scorer[index] if index < len(self.scorer) else None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run both stages on one window at its own resolution, without levels or windows.

        This is what plain training loops and checks such as MONAI's ``verify_net_in_out`` see: the finest refine
        network on ``x``, conditioned on the coarse logits of ``x`` itself where it is conditioned at all. Inference of
        whole images is the work of the inferer.

        Args:
            x: (B, Ci, *spatial), of a size that both networks accept.
            args: passed on to both networks.
            kwargs: passed on to both networks.

        Returns:
            logits (B, C, *spatial), or whatever the refine network returns.
        """
        if not self.conditioned:
            return self.refiner(-1)(x, *args, **kwargs)
        below = self.coarse(x, *args, **kwargs)
        if isinstance(below, (list, tuple)):
            below = below[0]
        elif isinstance(below, dict):
            below = next(iter(below.values()))
        return self.refiner(-1)(x, below, *args, **kwargs)


def _one_or_list(networks: nn.Module | Sequence[nn.Module]) -> nn.Module:
    return networks if isinstance(networks, nn.Module) else nn.ModuleList(networks)
