"""From file to file: a volume in, a NIfTI label map out, ours beside MONAI's inferers with the usual post-processing.

Usual is what bundles do: softmax, linear inverse of the spatial transforms, arg-max, ``SaveImaged``. Ours composes labels slab by slab, and
brings those back by their nearest voxel; with levels in millimetres the image stays on its own grid, and so do the labels.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import torch
from monai.inferers import AvgMerger, PatchInferer, SlidingWindowInferer, SlidingWindowSplitter
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Spacingd,
)
from speed_networks import plain_unet
from speed_pipeline import STAGES, Pipeline, address_space, file_to_file
from speed_scenes import blobs

from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.pipeline.device import PeakMemory
from monai_dis.transforms import AxisSpacingd

__all__ = ["ARMS", "measure_volumes", "write_volume"]

ROI = (96, 96, 96)
BATCH = 2
SPACING = 1.25  # millimetres, of what the network sees; that of a generated file is 1
LEVELS: Sequence[Mapping[str, Any]] = ({"scale": 4}, {"scale": 1})
#: The same of an image on its own grid: every level is resampled from it, and only where it is needed.
LEVELS_MM: Sequence[Mapping[str, Any]] = ({"spacing_mm": 4 * SPACING}, {"spacing_mm": SPACING})

#: What makes the inferer of each arm.
ARMS: Mapping[str, Callable[[], Any]] = {
    "ours, 10 % of a full pass": lambda: _ours(LEVELS, Budget(operations=0.1)),
    "ours, 10 %, levels in millimetres": lambda: _ours(LEVELS_MM, Budget(operations=0.1)),
    "ours, every window": lambda: _ours(LEVELS, None),
    "sliding window, overlap 0": lambda: SlidingWindowInferer(ROI, BATCH, 0.0, "gaussian"),
    "sliding window, overlap 0.25": lambda: SlidingWindowInferer(ROI, BATCH, 0.25, "gaussian"),
    "sliding window, overlap 0.5": lambda: SlidingWindowInferer(ROI, BATCH, 0.5, "gaussian"),
    "sliding window, overlap 0.5, buffered": lambda: SlidingWindowInferer(ROI, BATCH, 0.5, "gaussian", buffer_steps=2),
    "PatchInferer, overlap 0.5": lambda: PatchInferer(SlidingWindowSplitter(ROI, 0.5), AvgMerger, BATCH),
}


def _ours(levels: Sequence[Mapping[str, Any]], budget: Budget | None) -> IterativeInferer:
    return IterativeInferer(ROI, BATCH, 0.5, "gaussian", levels=levels, budget=budget, output="labels")


def write_volume(path: Path, size: Sequence[int]) -> None:
    """Write a generated scene as a volume of 16 bits with voxels of 1 mm."""
    scene = (1000 * blobs(size)[0, 0]).numpy().astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(scene, np.diag([-1.0, -1.0, 1.0, 1.0])), path)


def measure_volumes(
    image: Path, classes: int, arms: Sequence[str], repeats: int, memory_gb: float, threads: int
) -> list[dict[str, Any]]:
    """Every arm in a process of its own, whose resident memory is its own, one after the other.

    Args:
        image: NIfTI file, or the folder of a DICOM series.
        classes: of the network.
        arms: names in `ARMS`.
        repeats: runs of each; medians count.
        memory_gb: address space that an arm may take beyond what it has after its imports; one that needs more is said to.
        threads: of the processor.
    """
    rows = []
    for arm in arms:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            row = pool.submit(_measure_arm, image, classes, arm, repeats, memory_gb, threads).result()
        rows.append(row)
        said = row.get("failed") or f"{sum(row['seconds'].values()):.1f} s, {row['peak_memory_bytes'] / 1e6:.0f} MB"
        print(f"{classes} classes, {row['size']}, {arm}: {said}", flush=True)
    return rows


def _measure_arm(image: Path, classes: int, arm: str, repeats: int, memory_gb: float, threads: int) -> dict[str, Any]:
    quiet_third_parties()
    torch.set_num_threads(threads)
    network, memory = plain_unet(3, classes), PeakMemory(torch.device("cpu"))
    idle = _resident_bytes()
    row: dict[str, Any] = {"arm": arm, "classes": classes, "size": list(_size(image)), "idle_bytes": idle}
    runs: list[dict[str, float]] = []
    memory.start()
    with address_space(memory_gb), tempfile.TemporaryDirectory() as folder:
        try:
            for _ in range(repeats):
                inferer = ARMS[arm]()
                pipeline = _pipeline(isinstance(inferer, IterativeInferer), "millimetres" in arm)
                runs.append(file_to_file(image, network, inferer, pipeline, Path(folder)))
        except (MemoryError, RuntimeError) as error:
            if not _is_want_of_memory(error):
                raise
            return {**row, "failed": f"needs more than {memory_gb:g} GB"}
    seconds = {stage: float(np.median([run[stage] for run in runs])) for stage in STAGES}
    return {**row, "seconds": seconds, "peak_memory_bytes": memory.bytes()}


def _size(image: Path) -> tuple[int, ...]:
    if not image.is_dir():
        return tuple(nib.load(image).shape)
    slices = sorted(image.glob("*.dcm"))
    first = pydicom.dcmread(slices[0], stop_before_pixels=True)
    return int(first.Columns), int(first.Rows), len(slices)


def _is_want_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out; PyTorch says so with a RuntimeError of its own words, which transforms wrap in others."""
    if error is None:
        return False
    return isinstance(error, MemoryError) or "memory" in str(error) or _is_want_of_memory(error.__cause__)


def _pipeline(ours: bool, own_grid: bool) -> Pipeline:
    spacing = (AxisSpacingd if ours else Spacingd)("image", pixdim=(SPACING,) * 3, mode="bilinear")
    preparing = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="LPS", labels=None),
            *([] if own_grid else [spacing]),
            NormalizeIntensityd("image"),
            EnsureTyped("image", dtype=torch.float32),
        ]
    )
    back = Invertd("pred", preparing, "image", nearest_interp=ours, to_tensor=True)
    steps = [back] if ours else [Activationsd("pred", softmax=True), back, AsDiscreted("pred", argmax=True)]
    return Pipeline(preparing, Compose(steps), reading=2)


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
