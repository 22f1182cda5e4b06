"""Start a network from what another stage has learned."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from monai_dis.errors import NetworkError

__all__ = ["warm_start"]


def warm_start(network: nn.Module, part: str, path: str | Path) -> nn.Module:
    """Load the plain state dict of a stage into a part of a network.

    Args:
        network: the network.
        part: name of a submodule, such as ``"backbone"``; ``""`` is the whole of it.
        path: file of the state dict.

    Raises:
        NetworkError: when the weights do not fit.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.get_submodule(part).load_state_dict(state)
    except (AttributeError, RuntimeError) as error:
        raise NetworkError(f"{path} does not fit {part}: {str(error).splitlines()[0]}") from error
    return network
