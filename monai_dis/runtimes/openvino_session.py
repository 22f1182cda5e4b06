"""OpenVINO: an exported model on the CPU, in float32, or with weights and activations in int8."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from monai_dis.runtimes.extra import require
from monai_dis.runtimes.tried_operations import refuse_untried

__all__ = ["OpenVino"]


class OpenVino:
    """Opens exported models in OpenVINO, on the CPU.

    Raises:
        BackendError: when it is not installed.
    """

    name = "openvino"
    by_size = True

    def __init__(self) -> None:
        self._core = require("openvino", self.name).Core()
        for package in ("onnx", "onnxscript"):
            require(package, self.name)

    def read(self, content: bytes) -> Any:
        """A model of OpenVINO from the bytes of one of ONNX.

        Raises:
            BackendError: when the model has operations that OpenVINO is not known to compute.
        """
        refuse_untried(content)
        return self._core.read_model(content)

    def read_parts(self, structure: bytes, weights: bytes) -> Any:
        """A model from the two files of OpenVINO's own form."""
        return self._core.read_model(structure, weights)

    def open(self, model: Any, inputs: Sequence[Tensor], threads: int) -> OpenVinoSession:
        """A session for inputs of the spatial size of these, which is faster than one for any size.

        Args:
            model: from `read`; it stays as it is.
            inputs: examples.
            threads: number of CPU threads.
        """
        sized = model.clone()
        sized.reshape({i: [-1, *x.shape[1:]] for i, x in enumerate(inputs)})
        config = {
            # Left to itself, it rounds to bfloat16 where the processor can.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        return OpenVinoSession(self._core.compile_model(sized, "CPU", config))


class OpenVinoSession:
    """A model that is ready to run; calls from several threads wait for each other."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._count = len(compiled.outputs)
        self._lock = Lock()

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The model's outputs, on the CPU."""
        arrays = [x.detach().cpu().contiguous().numpy() for x in inputs]
        with self._lock:
            outputs = self._request.infer(arrays, share_inputs=True)
            return [torch.from_numpy(outputs[i]) for i in range(self._count)]
