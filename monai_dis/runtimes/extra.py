"""The optional packages of the runtimes: where they are imported, and the sentence when they are missing."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from monai_dis.errors import BackendError

__all__ = ["require", "require_tensorrt"]


def require(module: str, runtime: str) -> Any:
    """Import a package of the extra ``runtimes``.

    Raises:
        BackendError: when it is not installed.
    """
    # NNCF reports its use to a server unless this is set; what is segmented here is nobody else's business.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        return import_module(module)
    except ImportError as error:
        name = module.split(".")[0]
        raise BackendError(
            f'the runtime {runtime} needs {name}; install it with `pip install "monai-dis[runtimes]"`.'
        ) from error


def require_tensorrt() -> Any:
    """Import TensorRT, where it can run.

    Raises:
        BackendError: without a GPU, or when a package is not installed.
    """
    import torch

    if not torch.cuda.is_available():
        raise BackendError(
            "the runtime tensorrt needs an NVIDIA GPU that PyTorch can use; use onnx, openvino or compile on a CPU."
        )
    packages = {"tensorrt": "tensorrt", "polygraphy": "polygraphy", "cuda.bindings.runtime": "cuda-python"}
    try:
        for module in packages:
            import_module(module)
        # MONAI exports to ONNX on the way.
        for module in ("onnx", "onnxscript"):
            require(module, "tensorrt")
    except ImportError as error:
        raise BackendError(
            "the runtime tensorrt needs TensorRT; install it with "
            '`pip install tensorrt polygraphy cuda-python "monai-dis[runtimes]"`.'
        ) from error
    return import_module("tensorrt")
