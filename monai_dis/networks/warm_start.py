"""Start a network from what another stage has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["warm_start"]


def warm_start(
    network: nn.Module, part: str, path: str | Path, *, widen: bool = False, leave: Sequence[str] = ()
) -> nn.Module:
    """Load the plain state dict of a stage into a part of a network.

    Args:
        network: the network.
        part: name of a submodule, such as ``"backbone"``; ``""`` is the whole of it.
        path: file of the state dict.
        widen: let convolutions take more input channels than they have learned; the further ones begin with weights of zero, so
            that they change nothing at first.
        leave: submodules of the part that stay as they are, such as ``["head"]``.

    Raises:
        NetworkError: when the weights do not fit.
    """
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    try:
        module = network.get_submodule(part)
        own = module.state_dict()
        kept = {key: value for key, value in own.items() if key.split(".")[0] in leave}
        learned = {key: value for key, value in state.items() if key.split(".")[0] not in leave}
        module.load_state_dict(kept | (_widened(learned, own) if widen else learned))
    except (AttributeError, RuntimeError) as error:
        raise NetworkError(f"{path} does not fit {part}: {str(error).splitlines()[0]}") from error
    return network


def _widened(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with input channels of zeros where more are wanted; what differs otherwise is left to be refused."""
    wide = {}
    for key, value in state.items():
        shape = wanted[key].shape if key in wanted else value.shape
        if value.ndim > 1 and len(shape) == value.ndim and shape[1] > value.shape[1]:
            more = value.new_zeros((len(value), shape[1] - value.shape[1], *value.shape[2:]))
            value = torch.cat([value, more], dim=1)
        wide[key] = value
    return wide
