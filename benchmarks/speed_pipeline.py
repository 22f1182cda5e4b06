"""One volume from file to file, by stage: what ours and MONAI's inferers have in common when they are timed."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, SaveImaged

__all__ = ["STAGES", "Pipeline", "address_space", "file_to_file"]

STAGES = ("read", "prepare", "infer", "finish", "write")


@dataclass(frozen=True)
class Pipeline:
    """What happens to a volume before and after the network.

    Attributes:
        preparing: transforms, of which the first ones read.
        finishing: from the inferer's answer to labels on the file's grid.
        reading: how many transforms read.
    """

    preparing: Compose
    finishing: Compose
    reading: int = 1


def file_to_file(image: Path, network: Any, inferer: Any, pipeline: Pipeline, folder: Path) -> dict[str, float]:
    """Seconds by stage of one volume; the label map is written to a folder."""
    writing = SaveImaged("pred", output_dir=folder, output_dtype=np.uint8, separate_folder=False, print_log=False)
    marks = [time.perf_counter()]
    data = pipeline.preparing({"image": str(image)}, end=pipeline.reading)
    marks.append(time.perf_counter())
    data = pipeline.preparing(data, start=pipeline.reading)
    marks.append(time.perf_counter())
    with torch.no_grad():
        answer = inferer(data["image"][None], network)
    answer = answer if isinstance(answer, MetaTensor) else MetaTensor(answer)
    data["pred"] = MetaTensor(answer.as_tensor()[0], meta=data["image"].meta)
    del answer
    marks.append(time.perf_counter())
    data = pipeline.finishing(data)
    marks.append(time.perf_counter())
    writing(data)
    marks.append(time.perf_counter())
    return {stage: b - a for stage, a, b in zip(STAGES, marks, marks[1:], strict=False)}


@contextmanager
def address_space(more_gb: float) -> Iterator[None]:
    """Let the process take so much more address space, so that what is too large fails here and not on the machine."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + int(more_gb * 1e9), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
