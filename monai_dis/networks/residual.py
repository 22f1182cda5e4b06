"""A refine network that corrects the answer it is given, and starts by leaving it as it is.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``*roi`` window size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.clipped import check_clip, clipped

__all__ = ["ResidualRefiner"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ResidualRefiner(nn.Module):
    """``conditioning + head(backbone([window, clipped conditioning]))``, with a head that starts at zero.

    At the start of training the network returns the coarse answer unchanged, so refinement begins at the quality of the
    coarse level and is only ever trained to correct it.

    Args:
        backbone: any network that takes ``Ci + channels`` input channels and keeps the spatial size. When it returns
            a list or tuple (deep supervision) the first entry counts.
        channels: number ``C`` of logit channels of the conditioning and of the answer.
        clip: logits beyond ``-clip`` and ``clip`` are clipped and then divided by ``clip``, so that the backbone sees
            conditioning between -1 and 1 however confident the coarse network is. The sum uses the unclipped logits.
        spatial_dims: 1, 2 or 3; read from the backbone's first convolution when not given.
        features: channels of the backbone's output; ``channels`` when not given.

    Raises:
        NetworkError: when an argument does not fit.

    Example:
        >>> from monai.networks.nets import BasicUNet
        >>> net = ResidualRefiner(BasicUNet(spatial_dims=2, in_channels=3 + 1, out_channels=1), channels=1)
        >>> net(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32)).unique().tolist()
        [1.0]
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        clip: float = 8.0,
        *,
        spatial_dims: int | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise NetworkError(f"channels must be 1 or more, got {channels}.")
        dims = spatial_dims if spatial_dims is not None else _spatial_dims_of(backbone)
        if dims not in _CONVOLUTIONS:
            raise NetworkError(f"spatial_dims must be 1, 2 or 3, got {dims}.")
        self.backbone = backbone
        self.channels = channels
        self.clip = check_clip(clip)
        self.head = _CONVOLUTIONS[dims](channels if features is None else features, channels, kernel_size=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, window: Tensor, conditioning: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Correct the coarse logits of a batch of windows.

        Args:
            window: (K, Ci, *roi) image windows.
            conditioning: (K, C, *roi) logits of the level below on the same windows.
            args: passed on to the backbone.
            kwargs: passed on to the backbone.

        Returns:
            (K, C, *roi) logits.

        Raises:
            NetworkError: when the conditioning has another number of channels than the network was built for.
        """
        if conditioning.shape[1] != self.channels:
            raise NetworkError(
                f"the refine network was built for {self.channels} conditioning channels, the coarse network gives "
                f"{conditioning.shape[1]}; build ResidualRefiner with channels={conditioning.shape[1]}."
            )
        seen = clipped(conditioning, self.clip)
        features = self.backbone(torch.cat([window, seen.to(window.dtype)], dim=1), *args, **kwargs)
        if isinstance(features, (list, tuple)):
            features = features[0]
        correction: Tensor = self.head(features)
        return conditioning + correction


def _spatial_dims_of(backbone: nn.Module) -> int:
    for module in backbone.modules():
        for dims, kind in _CONVOLUTIONS.items():
            if isinstance(module, kind):
                return dims
    raise NetworkError("spatial_dims cannot be read from a backbone without convolutions; give spatial_dims.")
