"""Which device a run uses, and how much memory it took."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

import torch

from monai_dis.errors import DisError

__all__ = ["PeakMemory", "pick_device", "return_free_memory"]


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` into a device.

    Raises:
        DisError: when a GPU is asked for and there is none, or the name is unknown.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DisError(f"the device {device!r} is unknown; use auto, cpu or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DisError("there is no GPU that PyTorch can use here; use --device cpu, or auto.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DisError(
            f"there is no device {chosen}; this machine has {torch.cuda.device_count()} GPU(s), counted from 0."
        )
    return chosen


def return_free_memory() -> None:
    """Give memory that nothing uses back to the system, where the C library keeps it (glibc); elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
    """The largest memory in use since `start`: of the GPU on a GPU, of the process elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        """Begin to measure; where the system cannot reset its mark, the process's whole life counts."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                # Linux: resets VmHWM, the high-water mark of resident memory.
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                return

    def bytes(self) -> int:
        """Peak since `start`, in bytes."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        if sys.platform == "win32":
            import psutil

            return int(psutil.Process().memory_info().peak_wset)
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
