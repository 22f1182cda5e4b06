"""Start a refine network from what the coarse network has learned.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["FromImage", "warm_start"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class FromImage(nn.Module):
    """A network of images that is given further channels: mixed into the image, at first not at all.

    So a network that was trained on images alone, such as the coarse one, can be the backbone of a `ResidualRefiner`, and
    answers at the start of training as it always did.

    Args:
        network: takes (K, Ci, *roi).
        in_channels: channels that are given, the image's first.
        image_channels: ``Ci``.
        spatial_dims: 1, 2 or 3.

    Raises:
        NetworkError: when the channels do not fit.

    Example:
        >>> net = FromImage(nn.Identity(), in_channels=5, image_channels=3)
        >>> x = torch.rand(1, 5, 4, 4)
        >>> torch.equal(net(x), x[:, :3])
        True
    """

    def __init__(self, network: nn.Module, in_channels: int, image_channels: int, *, spatial_dims: int = 2) -> None:
        super().__init__()
        if not 1 <= image_channels < in_channels:
            raise NetworkError(
                f"in_channels are the image's and more, got {in_channels} with {image_channels} of the image."
            )
        if spatial_dims not in _CONVOLUTIONS:
            raise NetworkError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}.")
        self.image_channels = image_channels
        self.mix = _CONVOLUTIONS[spatial_dims](in_channels - image_channels, image_channels, kernel_size=1)
        nn.init.zeros_(self.mix.weight)
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """What the network answers to (K, in_channels, *roi)."""
        answer: Tensor = self.network(x[:, : self.image_channels] + self.mix(x[:, self.image_channels :]))
        return answer


def warm_start(network: nn.Module, part: str, path: str | Path) -> nn.Module:
    """Load the plain state dict of a stage into a part of a network.

    Args:
        network: the network.
        part: name of a submodule, such as ``"backbone.network"``.
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
