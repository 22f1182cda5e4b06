"""Scores side by side: each is a pair of network and inferer, the rivals that a good score must beat among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from monai.data.meta_tensor import MetaTensor
from torch import nn

from monai_dis.engines.oracle import OracleInferer
from monai_dis.engines.rival_scorers import BoundaryScorer, BoxScorer, RandomScorer, with_scorer
from monai_dis.errors import DataError
from monai_dis.inferers import IterativeInferer
from monai_dis.inferers.level import SCORES

__all__ = ["COMPARED", "score_arms", "share_of_oracle"]

_RIVALS: Mapping[str, Callable[[str | None], nn.Module]] = {
    "random": lambda activation: RandomScorer(),
    "random-foreground": lambda activation: RandomScorer(on_foreground=True, activation=activation),
    "boundary": BoundaryScorer,
    "box": BoxScorer,
}

#: What can be compared: the inferer's own scores, random windows (everywhere, on the foreground), the boundary of the coarse answer,
#: the box around it, and the oracle.
COMPARED = (*SCORES, *_RIVALS, "oracle")


def score_arms(
    network: nn.Module,
    inferer: IterativeInferer,
    scores: Sequence[str],
    truth_of: Callable[[str], MetaTensor],
) -> dict[str, tuple[nn.Module, IterativeInferer]]:
    """Network and inferer for each score.

    Args:
        network: a pair of stages, or any network for both.
        inferer: levels, windows and merging.
        scores: names among `COMPARED`.
        truth_of: what the oracle sees, see `OracleInferer`.

    Raises:
        DataError: when a name is unknown.
    """
    arms: dict[str, tuple[nn.Module, IterativeInferer]] = {}
    for score in scores:
        if score in SCORES:
            arms[score] = network, inferer.with_score(score)
        elif score in _RIVALS:
            arms[score] = with_scorer(network, _RIVALS[score](inferer.settings.activation)), inferer.with_score("gain")
        elif score == "oracle":
            arms[score] = network, OracleInferer(inferer, truth_of)
        else:
            raise DataError(f"scores to compare are {', '.join(COMPARED)}, not {score!r}.")
    return arms


def share_of_oracle(value: float, coarse: float, oracle: float) -> float | None:
    """Which share of the oracle's gain over the coarse answer a score captures; None where there is nothing to gain.

    Example:
        >>> share_of_oracle(0.75, coarse=0.5, oracle=1.0)
        0.5
    """
    return (value - coarse) / (oracle - coarse) if oracle > coarse else None
