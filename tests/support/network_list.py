"""Segmentation networks that map (B, Ci, *S) to (B, C, *S), in tiny configurations, each with the axes that it is run with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

__all__ = ["NETWORKS", "NetworkCase", "OutOfDictionary"]

Maker = Callable[[int, int, int], nn.Module]
_LIBRARY: list[Any] = []


class OutOfDictionary(nn.Module):
    """A network that answers in a dictionary, as torchvision's do: what is under ``out`` alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)["out"]


@dataclass(frozen=True)
class NetworkCase:
    """One network of the list.

    Attributes:
        name: of the test.
        make: spatial dimensions, input and output channels to network.
        dims: with which it is tested.
        outputs: in how many tensors it answers.
        channels: of its input.
    """

    name: str
    make: Maker
    dims: tuple[int, ...] = (2, 3)
    outputs: int = 1
    channels: int = 1


def _dynunet(deep: bool) -> Maker:
    def make(dims: int, channels: int, classes: int) -> nn.Module:
        kernels, strides = [3, 3, 3, 3], [1, 2, 2, 2]
        deeper = {"deep_supervision": True, "deep_supr_num": 1} if deep else {}
        return nets.DynUNet(dims, channels, classes, kernels, strides, strides[1:], filters=[4, 8, 8, 8], **deeper)

    return make


def _dints(dims: int, channels: int, classes: int) -> nn.Module:
    space = nets.TopologyInstance(channel_mul=0.1, num_blocks=4, num_depths=2, spatial_dims=dims, use_downsample=True)
    return nets.DiNTS(space, channels, classes, spatial_dims=dims)


def _highres(dims: int, channels: int, classes: int) -> nn.Module:
    layers = (
        {"name": "conv_0", "n_features": 4, "kernel_size": 3},
        {"name": "res_1", "n_features": 4, "kernels": (3, 3), "repeat": 1},
        {"name": "res_2", "n_features": 8, "kernels": (3, 3), "repeat": 1},
        {"name": "conv_1", "n_features": 8, "kernel_size": 1},
        {"name": "conv_2", "kernel_size": 1},
    )
    return nets.HighResNet(dims, channels, classes, layer_params=layers)


def _swin(version: bool) -> Maker:
    return lambda d, i, o: nets.SwinUNETR(
        i, o, feature_size=12, depths=(1,) * 4, num_heads=(1,) * 4, window_size=4, spatial_dims=d, use_v2=version,
        norm_name="batch",  # of a window of 32 a single voxel is left at the bottom
    )  # fmt: skip


def _smp(name: str, **options: Any) -> Maker:
    def make(dims: int, channels: int, classes: int) -> nn.Module:
        smp = _import("segmentation_models_pytorch")
        return getattr(smp, name)("resnet18", encoder_weights=None, in_channels=channels, classes=classes, **options)

    return make


def _torchvision(name: str) -> Maker:
    def make(dims: int, channels: int, classes: int) -> nn.Module:
        models = _import("torchvision.models.segmentation")
        network = getattr(models, name)(weights=None, weights_backbone=None, num_classes=classes)
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        # They are made for colour: the first layer takes as many channels as it is given.
        first.weight = nn.Parameter(first.weight[:, :1].repeat(1, channels, 1, 1))
        first.in_channels = channels
        return OutOfDictionary(network)

    return make


def _import(name: str) -> Any:
    """A third party's module; the test is skipped, and says why, where it cannot be imported."""
    try:
        if not _LIBRARY:
            # torchvision's compiled operations do not load beside a torch for the CPU; no segmentation network needs them.
            _LIBRARY.append(torch.library.Library("torchvision", "FRAGMENT"))
            for op in ("nms", "qnms"):
                if not hasattr(torch.ops.torchvision, op):
                    _LIBRARY[0].define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported ({error})")


NETWORKS = [
    NetworkCase("unet", lambda d, i, o: nets.UNet(d, i, o, (4, 8, 16), (2, 2), num_res_units=1)),
    NetworkCase("basic-unet", lambda d, i, o: nets.BasicUNet(d, i, o, (4, 4, 8, 8, 8, 4))),
    NetworkCase("basic-unet-plus-plus", lambda d, i, o: nets.BasicUNetPlusPlus(d, i, o, (4, 4, 4, 4, 8, 4))),
    NetworkCase(
        "basic-unet-plus-plus-deep",
        lambda d, i, o: nets.BasicUNetPlusPlus(d, i, o, (4, 4, 4, 4, 8, 4), deep_supervision=True),
        outputs=4,
    ),
    NetworkCase("dynunet", _dynunet(False)),
    NetworkCase("dynunet-deep", _dynunet(True)),
    NetworkCase("attention-unet", lambda d, i, o: nets.AttentionUnet(d, i, o, (4, 8, 16), (2, 2))),
    NetworkCase("segresnet", lambda d, i, o: nets.SegResNet(d, 8, i, o, blocks_down=(1, 1, 1), blocks_up=(1, 1))),
    NetworkCase("segresnet-ds", lambda d, i, o: nets.SegResNetDS(d, 8, i, o, blocks_down=(1, 1, 1), dsdepth=2)),
    NetworkCase("vnet", lambda d, i, o: nets.VNet(d, i, o), (2, 3)),
    NetworkCase("unetr", lambda d, i, o: nets.UNETR(i, o, (32,) * d, 4, 16, 32, 2, spatial_dims=d)),
    NetworkCase("swin-unetr", _swin(False)),
    NetworkCase("swin-unetr-v2", _swin(True), (2,)),
    NetworkCase(
        "flexible-unet",
        lambda d, i, o: nets.FlexibleUNet(
            i, o, "resnet10", pretrained=False, decoder_channels=(8, 8, 8, 4, 4), spatial_dims=d
        ),
    ),
    NetworkCase("mednext", lambda d, i, o: nets.MedNeXt(d, 4, i, o, 1, 1, 1, 3, False, False, (1,) * 4, 1, (1,) * 4)),
    NetworkCase("highresnet", _highres),
    NetworkCase("regunet", lambda d, i, o: nets.RegUNet(d, i, 4, 2, out_channels=o)),
    NetworkCase("ahnet", lambda d, i, o: nets.AHNet((1, 1, 1, 1), d, i, o, 0, "transpose"), (2,)),
    NetworkCase("dints", _dints),
    NetworkCase("autoencoder", lambda d, i, o: nets.AutoEncoder(d, i, o, (4, 8), (2, 2))),
    NetworkCase("smp-fpn", _smp("FPN"), (2,)),
    NetworkCase("smp-pspnet", _smp("PSPNet"), (2,)),
    NetworkCase("smp-deeplabv3plus", _smp("DeepLabV3Plus"), (2,)),
    NetworkCase("smp-segformer", _smp("Segformer"), (2,)),
    NetworkCase("torchvision-fcn", _torchvision("fcn_resnet50"), (2,)),
    NetworkCase("torchvision-deeplabv3", _torchvision("deeplabv3_mobilenet_v3_large"), (2,)),
]
