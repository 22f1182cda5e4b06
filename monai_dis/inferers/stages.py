"""Which network answers at which level: a pair of stages, or one network for all levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from monai_dis.errors import NetworkError
from monai_dis.inferers.level import Level

__all__ = ["Stages", "stages_of"]


@dataclass(frozen=True)
class Stages:
    """The networks of a run.

    Args:
        coarse: network of level 0.
        refine: one network per sparse level.
        conditioned: one flag per sparse level: whether its network takes the logits of the level below too.
        scorers: one per sparse level, or None where the network has none: see `monai_dis.inferers.gain.Scorer`.
    """

    coarse: Callable[..., Any]
    refine: tuple[Callable[..., Any], ...]
    conditioned: tuple[bool, ...]
    scorers: tuple[Callable[..., Any] | None, ...]


def stages_of(network: Callable[..., Any], levels: tuple[Level, ...]) -> Stages:
    """Find the stages of a network.

    Args:
        network: a `monai_dis.networks.TwoStageNet` (anything with ``coarse``, ``refine`` and ``refiner``, plain or
            inside a parallel wrapper), or any callable, which then answers at every level and is not conditioned.
        levels: the levels of the run, level 0 first.

    Raises:
        NetworkError: when the network is not callable or lacks a refine network that a level asks for.
    """
    sparse = levels[1:]
    pair: Any = network if _is_pair(network) else getattr(network, "module", None)
    if not _is_pair(pair):
        if not callable(network):
            raise NetworkError(f"network must be callable, got {type(network).__name__}.")
        return Stages(network, (network,) * len(sparse), (False,) * len(sparse), (None,) * len(sparse))
    refine: list[Callable[..., Any]] = []
    conditioned: list[bool] = []
    for index, level in enumerate(sparse):
        if level.uses == "coarse":
            refine.append(pair.coarse)
            conditioned.append(False)
            continue
        refine.append(pair.refiner(level.uses if isinstance(level.uses, Integral) else index))
        conditioned.append(bool(pair.conditioned))
    scorer = getattr(pair, "scorer_of", lambda index: None)
    scorers = tuple(scorer(index) for index in range(len(sparse)))
    return Stages(pair.coarse, tuple(refine), tuple(conditioned), scorers)


def _is_pair(network: Any) -> bool:
    return all(hasattr(network, name) for name in ("coarse", "refine", "refiner", "conditioned"))
