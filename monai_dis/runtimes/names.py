"""The runtimes there are."""

from __future__ import annotations

from monai_dis.errors import BackendError

__all__ = ["RUNTIMES", "check_runtime"]

#: ``torch`` is PyTorch as it is.
RUNTIMES = ("torch", "compile", "onnx", "openvino", "openvino-int8", "tensorrt")


def check_runtime(name: str) -> str:
    """The name itself.

    Raises:
        BackendError: when there is no such runtime.

    Example:
        >>> check_runtime("onnx")
        'onnx'
    """
    if name not in RUNTIMES:
        raise BackendError(f"the runtime {name!r} is unknown; use one of {', '.join(RUNTIMES)}.")
    return name
