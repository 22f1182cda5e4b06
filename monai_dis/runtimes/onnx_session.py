"""ONNX Runtime: an exported model on the CPU, or on a GPU where the installed package has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_dis.runtimes.extra import require

__all__ = ["OnnxRuntime"]


class OnnxRuntime:
    """Opens exported models in ONNX Runtime.

    Raises:
        BackendError: when it is not installed.
    """

    name = "onnx"
    by_size = False

    def __init__(self) -> None:
        self._package = require("onnxruntime", self.name)
        for package in ("onnx", "onnxscript"):
            require(package, self.name)

    def read(self, content: bytes) -> bytes:
        """What `open` takes: here, the model's bytes."""
        return content

    def open(self, model: bytes, inputs: Sequence[Tensor], threads: int) -> OnnxSession:
        """A session for inputs on the device of these.

        Args:
            model: from `read`.
            inputs: examples.
            threads: number of CPU threads.
        """
        options = self._package.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is raised; printing it too would only alarm
        providers: list[Any] = ["CPUExecutionProvider"]
        device = inputs[0].device
        if device.type == "cuda" and "CUDAExecutionProvider" in self._package.get_available_providers():
            # TensorFloat-32 would be ten bits of the answer.
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": "0"}))
        return OnnxSession(self._package.InferenceSession(model, options, providers=providers))


class OnnxSession:
    """A model that is ready to run; may be called from several threads."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [each.name for each in session.get_inputs()]

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The model's outputs, on the CPU."""
        arrays = {name: x.detach().cpu().numpy() for name, x in zip(self._names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in self._session.run(None, arrays)]
