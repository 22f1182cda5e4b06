"""Runtimes: what computes the networks. PyTorch as it is or compiled, ONNX Runtime, OpenVINO (int8 too), TensorRT.

Names are loaded when they are first used: runtimes can be listed without torch, and a runtime's packages are imported when it is
chosen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "RUNTIMES": "names",
    "RuntimeModule": "module",
    "TOLERANCE": "agreement",
    "calibrating": "calibration",
    "check_runtime": "names",
    "export_onnx": "export",
    "needs_calibration": "calibration",
    "with_runtime": "attach",
}

__all__ = [
    "RUNTIMES",
    "RuntimeModule",
    "TOLERANCE",
    "calibrating",
    "check_runtime",
    "export_onnx",
    "needs_calibration",
    "with_runtime",
]

if TYPE_CHECKING:
    from monai_dis.runtimes.agreement import TOLERANCE
    from monai_dis.runtimes.attach import with_runtime
    from monai_dis.runtimes.calibration import calibrating, needs_calibration
    from monai_dis.runtimes.export import export_onnx
    from monai_dis.runtimes.module import RuntimeModule
    from monai_dis.runtimes.names import RUNTIMES, check_runtime


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
