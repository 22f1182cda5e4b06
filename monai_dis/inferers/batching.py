"""How many windows go to a network at once: as many as asked for, or as many as fit; fewer where memory runs out.

What `monai.inferers.SlidingWindowInfererAdapt` does for a whole image is done here for a batch: what was finished stays finished.

Letters in shapes: ``*read`` size of what the network is given.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch

from monai_dis.errors import OutOfMemoryError
from monai_dis.inferers.mosaic import Mosaic

__all__ = ["WindowBatch", "adapted", "is_out_of_memory", "moved_to_cpu", "one_pass", "windows_at_once"]

logger = logging.getLogger("monai_dis")

T = TypeVar("T")

# On a CPU a batch is only to keep the cores busy: more voxels than this gain nothing.
_CPU_VOXELS = 1 << 17
_CPU_WINDOWS = 16
# On an accelerator, of the free memory; the rest is for what is put together meanwhile.
_FREE_SHARE = 0.7
_GPU_WINDOWS = 128


def windows_at_once(size: Sequence[int]) -> int:
    """Windows per call where nobody says: those that hold 2**17 voxels together, one at least and 16 at most.

    Example:
        >>> windows_at_once((96, 96)), windows_at_once((32, 32, 32)), windows_at_once((96, 96, 96))
        (14, 4, 1)
    """
    return max(1, min(_CPU_WINDOWS, _CPU_VOXELS // math.prod(size)))


class WindowBatch:
    """The number of windows per call of one level; it only shrinks where memory runs out.

    Args:
        asked: windows per call; None finds a number: on a CPU `windows_at_once`, on an accelerator by the memory that the first
            call of one window takes and what is free.
        size: *read, spatial size of a window.
        device: where the network runs.
        level: number of the level, for messages.
    """

    def __init__(self, asked: int | None, size: Sequence[int], device: torch.device, level: int) -> None:
        self._device, self._level, self._size = device, level, tuple(size)
        self._measures = asked is None and device.type == "cuda"
        self.windows = 1 if self._measures else asked or windows_at_once(size)

    def call(self, run: Callable[[], T]) -> T:
        """Run the network on a batch; the first batch says what a window takes, where that is to be found."""
        if not self._measures:
            return run()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        answer = run()
        took = max(1, torch.cuda.max_memory_allocated(self._device) - before)
        free = torch.cuda.mem_get_info(self._device)[0] + torch.cuda.memory_reserved(self._device) - before - took
        self.windows = max(1, min(_GPU_WINDOWS, int(_FREE_SHARE * free / took)))
        self._measures = False
        return answer

    def shrink(self) -> bool:
        """Halve the batch after memory ran out; False where it cannot shrink any more."""
        self._measures = False
        if self.windows == 1:
            return False
        before, self.windows = self.windows, self.windows // 2
        logger.warning(
            "level %d: a batch of %d windows does not fit into memory, going on with %d",
            self._level,
            before,
            self.windows,
        )
        return True

    def until_it_fits(self, run: Callable[[], T]) -> T:
        """Run a whole pass, with smaller batches from its beginning where memory runs out.

        Raises:
            OutOfMemoryError: when one window does not fit.
        """
        while True:
            answer, error = _tried(run)
            if error is None:
                return cast(T, answer)
            if not self.shrink():
                raise self.too_small() from error

    def too_small(self) -> OutOfMemoryError:
        """What to say when one window does not fit either."""
        size = " x ".join(map(str, self._size))
        return OutOfMemoryError(
            f"level {self._level}: one window of {size} voxels does not fit into the memory of {self._device}; use a smaller "
            "roi_size or halo, autocast='bfloat16', or another sw_device."
        )


_NO_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|"
    r"(CUDNN|CUBLAS|CUSPARSE|CUSOLVER|CUFFT|HIPBLAS|MIOPEN)_(STATUS_)?ALLOC_FAILED",
    re.IGNORECASE,
)


def one_pass(run: Callable[[], T], size: Sequence[int], device: torch.device) -> T:
    """Run level 0 on a whole grid.

    Raises:
        OutOfMemoryError: when it does not fit.
    """
    answer, error = _tried(run)
    if error is None:
        return cast(T, answer)
    raise OutOfMemoryError(
        f"level 0: one pass over {' x '.join(map(str, size))} voxels does not fit into the memory of {device}, nor does a window; use a "
        "larger coarse_scale or a smaller roi_size, or give fewer images at a time."
    ) from error


def adapted(work: Callable[[], T], mosaics: Sequence[Mosaic]) -> T:
    """Compose something; where memory runs out on an accelerator, once more on the CPU.

    Args:
        work: reads the mosaics.
        mosaics: are moved.

    Raises:
        OutOfMemoryError: when that does not help, or they lie on the CPU already.
    """
    answer, error = _tried(work)
    if error is not None and moved_to_cpu(mosaics):
        answer, error = _tried(work)
    if error is None:
        return cast(T, answer)
    raise OutOfMemoryError(
        'the answer does not fit into memory; use output="labels", compose it region by region (result.mosaic.compose), or give '
        "fewer images at a time."
    ) from error


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What comes of some work, or the error that says that memory ran out; other errors are raised."""
    try:
        return work(), None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, error


def moved_to_cpu(mosaics: Sequence[Mosaic]) -> bool:
    """Move answers to the CPU; False where they lie there already."""
    if all(m.coarse.device.type == "cpu" for m in mosaics):
        return False
    logger.warning(
        "the answer does not fit into the memory of %s, it is put together on the CPU", mosaics[0].coarse.device
    )
    for mosaic in mosaics:
        mosaic.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU's allocator, Metal, the driver below PyTorch and NVIDIA's libraries say it in a plain RuntimeError.
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
