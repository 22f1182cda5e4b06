"""Giving a network to a runtime: a network of the same structure whose parts are computed there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from monai_dis.errors import BackendError
from monai_dis.networks.two_stage import TwoStageNet
from monai_dis.runtimes.module import RuntimeModule
from monai_dis.runtimes.names import check_runtime

__all__ = ["with_runtime"]

Run = Callable[..., Any]


def with_runtime(network: nn.Module, runtime: str, *, cache_dir: str | Path | None = None) -> nn.Module:
    """The network, computed by a runtime; for inferers it is as before.

    Of a `TwoStageNet` the coarse network, each refine network and each scorer run there, each as a whole; what answers clicks stays
    in PyTorch. Every other network runs there as a whole. Weights are those of ``network``, which stays as it is. A part that cannot be
    exported, or is found to answer otherwise than in PyTorch, runs in PyTorch from there on, and one warning says why.

    Args:
        network: in evaluation mode, on its device.
        runtime: ``"torch"``, ``"compile"``, ``"onnx"``, ``"openvino"``, ``"openvino-int8"`` or ``"tensorrt"``. OpenVINO runs on the
            CPU, TensorRT on a GPU, ONNX Runtime on the CPU, or on a GPU where its package has one. In int8 the scorer stays float32.
        cache_dir: folder where exports are kept for the next process; nothing is kept when not given.

    Returns:
        The network itself for ``"torch"``, else a new one.

    Raises:
        BackendError: when the runtime is unknown, cannot run here, or a package is missing.

    Example:
        >>> net = with_runtime(TwoStageNet(nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)), "compile")
        >>> net.coarse
        RuntimeModule(
          runtime='compile'
          (original): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))
        )
    """
    if check_runtime(runtime) == "torch":
        return network
    if any(isinstance(module, RuntimeModule) for module in network.modules()):
        raise BackendError("the network has a runtime already; give with_runtime the network that it was made of.")
    start = _starter(runtime, None if cache_dir is None else Path(cache_dir))
    made: dict[nn.Module, nn.Module] = {}

    def moved(part: nn.Module, name: str) -> nn.Module:
        if isinstance(part, nn.ModuleList):
            return nn.ModuleList([moved(each, name) for each in part])
        if part not in made:  # one network may stand in several places
            made[part] = RuntimeModule(part, start(part, name), runtime)
        return made[part]

    if not isinstance(network, TwoStageNet):
        return moved(network, "whole")
    scorer = None if network.scorer is None else moved(network.scorer, "scorer")
    pair = TwoStageNet(
        moved(network.coarse, "coarse"), moved(network.refine, "refine"), network.conditioning, scorer, network.clicks
    )
    return pair.train(network.training)


def _starter(runtime: str, folder: Path | None) -> Callable[[nn.Module, str], Run]:
    """What makes the run of a part; fails here, before any image is read, where the runtime cannot be used."""
    if runtime == "compile":
        from monai_dis.runtimes.compiled import CompiledRun

        return CompiledRun
    if runtime == "tensorrt":
        from monai_dis.runtimes.extra import require_tensorrt
        from monai_dis.runtimes.tensorrt import TensorRtRun

        require_tensorrt()
        return lambda part, name: TensorRtRun(part, folder)

    from monai_dis.runtimes.exported import ExportedRun

    if runtime == "onnx":
        from monai_dis.runtimes.onnx_session import OnnxRuntime

        onnx = OnnxRuntime()
        return lambda part, name: ExportedRun(part, onnx, folder)

    from monai_dis.runtimes.openvino_session import OpenVino

    openvino = OpenVino()
    if runtime == "openvino":
        return lambda part, name: ExportedRun(part, openvino, folder)

    from monai_dis.runtimes.extra import require
    from monai_dis.runtimes.quantised import QuantisedRun

    require("nncf", runtime)
    # A scorer is small, and its order of windows should not depend on rounding.
    return lambda part, name: (
        ExportedRun(part, openvino, folder) if name == "scorer" else QuantisedRun(part, openvino, folder)
    )
