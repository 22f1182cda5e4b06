"""Runtimes that can run here, and networks for them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet

from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.networks import GainNet, ResidualRefiner, TwoStageNet

__all__ = ["PACKAGES", "needs", "run_both", "volume_inferer", "volume_net"]

PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "openvino-int8": ("onnx", "onnxscript", "openvino", "nncf"),
    "compile": (),
}


def needs(runtime: str) -> None:
    """Skip the test where a package is missing."""
    missing = [name for name in PACKAGES[runtime] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (extra runtimes)")


def volume_net() -> TwoStageNet:
    """A small pair of networks for volumes, with random weights, and a scorer that pads by a rule."""
    generator = torch.Generator().manual_seed(3)
    coarse = UNet(3, 1, 2, (4, 8), (2,), num_res_units=1)
    refine = ResidualRefiner(UNet(3, 3, 4, (4, 8), (2,)), channels=2, features=4)
    scorer = GainNet(UNet(3, 3, 2, (4, 8), (2,)), channels=2, divisible=2)
    net = TwoStageNet(coarse, refine, "logits", scorer)
    with torch.no_grad():
        for parameter in net.parameters():  # heads that start at zero would say nothing
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def volume_inferer() -> IterativeInferer:
    """Two levels, windows chosen by the scorer; odd sizes make the scorer pad."""
    return IterativeInferer((8, 8, 8), 3, levels=[2, 1], score="gain", budget=Budget(windows=7))


def run_both(network: Any, other: Any, inferer: IterativeInferer, image: torch.Tensor) -> tuple[Any, Any]:
    """Results of a network and of the same network in a runtime."""
    return inferer.run(image, network), inferer.run(image, other)
