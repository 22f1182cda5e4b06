"""torchvision beside a CPU build of torch: its Python part, which is all that MONAI Label needs."""

from __future__ import annotations

import sys
from typing import Any

import torch

__all__ = ["ensure_torchvision"]

_KEPT: list[Any] = []


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work where its compiled operators do not fit the installed torch.

    The wheels on the package index are built for CUDA; with a CPU torch they raise a RuntimeError on import, since operators that
    Python code registers kernels for were never defined. Defined without a kernel, everything but these operators works.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        _KEPT.append(library)  # its definitions go when it does
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
