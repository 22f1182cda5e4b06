"""Deep iterative segmentation for MONAI: a small image first, then computation only where that first answer is uncertain.

The names below are loaded when they are first used, so that `import monai_dis` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "Budget",
    "IterativeInferer",
    "Level",
    "TwoStageNet",
    "find_bundle",
    "iterative_inference",
    "load_bundle",
]

_HOMES = {
    "Budget": "monai_dis.inferers",
    "IterativeInferer": "monai_dis.inferers",
    "Level": "monai_dis.inferers",
    "TwoStageNet": "monai_dis.networks",
    "find_bundle": "monai_dis.bundle",
    "iterative_inference": "monai_dis.inferers",
    "load_bundle": "monai_dis.bundle",
}

if TYPE_CHECKING:
    from monai_dis.bundle import find_bundle, load_bundle
    from monai_dis.inferers import Budget, IterativeInferer, Level, iterative_inference
    from monai_dis.networks import TwoStageNet


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
