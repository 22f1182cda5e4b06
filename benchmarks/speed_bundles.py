"""A bundle beside its rival from file to file: ours as it ships, MONAI's sliding window with the rival network and the usual steps.

The rival's weights do not matter for speed; how good either is stands in the bundle's ``docs/README.md``.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, LoadImaged
from rivals import rival_network
from speed_pipeline import STAGES, Pipeline, file_to_file

from monai_dis.bundle import load_bundle
from monai_dis.bundle.locate import find_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.inferers import Budget
from monai_dis.inferers.call import mixed_precision
from monai_dis.pipeline.device import PeakMemory

__all__ = ["measure_bundle"]

# Network, inferer, and what happens before and after.
Way = tuple[Any, Any, Pipeline]


def _ours(bundle: Any, budget: Budget | None, autocast: str | None = "auto") -> Way:
    inferer = bundle.part("inferer").replaced(autocast=autocast)
    pipeline = Pipeline(bundle.part("preprocessing"), bundle.part("postprocessing"))
    return bundle.part("network").eval(), inferer if budget is None else inferer.with_budget(budget), pipeline


def _sliding(bundle: Any, overlap: float, autocast: str | None = None) -> Way:
    back, activation = bundle.part("probabilities").transforms
    ours = bundle.part("preprocessing").transforms
    preparing = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), *ours[1:]])
    back.transform = preparing
    exclusive = len(bundle.part("label_names")) > 2
    discrete = AsDiscreted("pred", argmax=True) if exclusive else AsDiscreted("pred", threshold=0.5)
    window = SlidingWindowInferer([int(n) for n in bundle.part("rival_window")], 1, overlap, "gaussian")
    finishing = Compose([activation, back, discrete])
    rival = rival_network(bundle.folder)

    def network(x: Any) -> Any:
        with mixed_precision(autocast, x.device):
            return rival(x).float()

    return network, window, Pipeline(preparing, finishing, reading=2)


ARMS: Mapping[str, Callable[[Any], Way]] = {
    "ours": lambda bundle: _ours(bundle, None),
    "ours, auto": lambda bundle: _ours(bundle, Budget.auto()),
    "ours, full precision": lambda bundle: _ours(bundle, None, None),
    "rival, sliding window, overlap 0": lambda bundle: _sliding(bundle, 0.0),
    "rival, sliding window, overlap 0.5": lambda bundle: _sliding(bundle, 0.5),
    "rival, sliding window, overlap 0.5, mixed precision": lambda bundle: _sliding(bundle, 0.5, "auto"),
}


def measure_bundle(name: str, files: Sequence[Path], repeats: int, threads: int) -> list[dict[str, Any]]:
    """Every arm in a process of its own, one after the other, over all files.

    Args:
        name: of the bundle, or its folder.
        files: volumes.
        repeats: runs of each, after one that does not count; medians count.
        threads: of the processor.
    """
    rows = []
    for arm in ARMS:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            rows.append(pool.submit(_measure_arm, name, arm, files, repeats, threads).result())
        print(f"{name}, {arm}: {sum(rows[-1]['seconds'].values()):.2f} s a volume", flush=True)
    return rows


def _measure_arm(name: str, arm: str, files: Sequence[Path], repeats: int, threads: int) -> dict[str, Any]:
    quiet_third_parties()
    torch.set_num_threads(threads)
    memory = PeakMemory(torch.device("cpu"))
    network, inferer, pipeline = ARMS[arm](load_bundle(find_bundle(name), ("inference", "evaluate")))
    memory.start()
    of_files = []
    with tempfile.TemporaryDirectory() as folder:
        file_to_file(files[0], network, inferer, pipeline, Path(folder))
        for file in files:
            runs = [file_to_file(file, network, inferer, pipeline, Path(folder)) for _ in range(repeats)]
            of_files.append({stage: float(np.median([run[stage] for run in runs])) for stage in STAGES})
    seconds = {stage: float(np.mean([each[stage] for each in of_files])) for stage in STAGES}
    return {
        "bundle": find_bundle(name).name,
        "arm": arm,
        "volumes": len(files),
        "seconds": seconds,
        "peak_memory_bytes": memory.bytes(),
    }
