"""Networks for benchmarks of speed: those of a bundle, and a clock on their forward passes.

Weights do not matter for a network's own speed where a budget counts operations, so nothing has to be trained. Composing labels is another
matter: what no training made is in doubt everywhere, and all of the ground is composed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from monai_dis.inferers import IterativeInferer
from monai_dis.inferers.grid import resample

__all__ = ["NetworkClock", "bundle_image", "bundle_parts", "plain_unet"]

BUNDLES = Path(__file__).parents[1] / "bundles"


def bundle_parts(name: str, *, trained: bool = False) -> tuple[nn.Module, IterativeInferer]:
    """Network and inferer of a bundle; its weights, or such as they come."""
    parser = _parser(name)
    torch.manual_seed(0)
    network = parser.get_parsed_content("network" if trained else "network_def")
    return network.eval(), parser.get_parsed_content("inferer")


def bundle_image(name: str, file: Path, size: Sequence[int]) -> Tensor:
    """An image as a bundle prepares it, (1, Ci, *size), enlarged or shrunk to a size."""
    prepared = _parser(name).get_parsed_content("preprocessing")({"image": str(file)})["image"]
    return resample(prepared.as_tensor()[None], size)


def _parser(name: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(BUNDLES / name)
    return parser


def plain_unet(dims: int, out_channels: int, in_channels: int = 1) -> nn.Module:
    """The U-Net of the volumetric bundles' refine stage, for one image channel and any number of classes."""
    torch.manual_seed(0)
    unet: nn.Module = UNet(
        dims, in_channels, out_channels, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2
    )
    return unet.eval()


class NetworkClock:
    """Seconds inside the forward passes of networks, by the stage that calls them.

    Args:
        networks: the networks by stage; passes on fake tensors, which count operations, are no forward passes.
    """

    def __init__(self, **networks: nn.Module | None) -> None:
        self.seconds = dict.fromkeys(networks, 0.0)
        self._started: dict[str, float] = {}
        self._networks = networks

    @classmethod
    def of(cls, network: Any) -> NetworkClock:
        """A clock for a `TwoStageNet`."""
        return cls(coarse=network.coarse, refine=network.refine, score=network.scorer)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the forward passes of a block."""
        self.seconds = dict.fromkeys(self._networks, 0.0)
        hooks = []
        for stage, network in self._networks.items():
            if network is not None:
                hooks.append(network.register_forward_pre_hook(self._start(stage)))
                hooks.append(network.register_forward_hook(self._stop(stage)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, stage: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self._started[stage] = time.perf_counter()

        return hook

    def _stop(self, stage: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(inputs[0], FakeTensor):
                self.seconds[stage] += time.perf_counter() - self._started[stage]

        return hook
