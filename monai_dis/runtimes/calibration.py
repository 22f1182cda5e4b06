"""Showing a network what it will see, for the runtimes that need to know the ranges of values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from monai_dis.runtimes.module import RuntimeModule

__all__ = ["calibrating", "needs_calibration"]


def needs_calibration(network: nn.Module) -> bool:
    """Whether a network of `monai_dis.runtimes.with_runtime` is one of int8 that has seen nothing yet."""
    runs = [module.run for module in network.modules() if isinstance(module, RuntimeModule)]
    states = [bool(run.calibrated) for run in runs if hasattr(run, "calibrated")]
    return bool(states) and not any(states)


@contextmanager
def calibrating(network: nn.Module) -> Iterator[None]:
    """Within the block the network answers as in PyTorch and remembers what it was given; after it, int8 is made from that.

    Example:
        >>> small = with_runtime(network, "openvino-int8")  # doctest: +SKIP
        >>> with calibrating(small):  # doctest: +SKIP
        ...     inferer.run(image, small)
    """
    runs = [m.run for m in network.modules() if isinstance(m, RuntimeModule) and hasattr(m.run, "recording")]
    for run in runs:
        run.recording = True
    try:
        yield
    finally:
        for run in runs:
            run.recording = False
