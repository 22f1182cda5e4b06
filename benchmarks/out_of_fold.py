"""Average precision of answers that training stages left, for comparing variants on photographs that no network of them saw.

    python benchmarks/out_of_fold.py --dataset idrid --data DATA FOLDER [FOLDER ...] [FOLDER+FOLDER ...]

A FOLDER holds ``<name>.npy`` logits ``(C, *grid)`` of overlapping classes, as `monai_dis.engines.write_coarse` leaves them; joined
by ``+``, the mean of their logits counts. All that are compared are measured on the cases that all of them answered, pooled over
pixels at half the photographs' size.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.metrics import PrecisionRecall


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    parts = {name: [Path(folder) for folder in name.split("+")] for name in options.folders}
    shared = set.intersection(*({f.stem for f in folder.glob("*.npy")} for own in parts.values() for folder in own))
    data = read_dataset(options.dataset, options.data)
    cases = [item for split in ("train", "val") for item in data.datalist(split) if item["name"] in shared]
    classes = data.label_names[1:]
    measures = {name: PrecisionRecall(len(classes)) for name in parts}
    for case in cases:
        label = LoadLabeld(keys="label")(case)["label"].as_tensor()
        grid = grid_size(label.shape[1:], options.scale)
        truth = resample(label[None].float(), grid)[0] >= 0.5
        for name, folders in parts.items():
            measures[name].add(_mean_logits(folders, case["name"], grid).sigmoid(), truth)
    print(f"{len(cases)} cases", *classes, "mean", sep=" | ")
    for name, measure in measures.items():
        areas = [measure.area(index) for index in range(len(classes))]
        print(name, *(f"{a:.3f}" for a in areas), f"{np.nanmean(areas):.4f}", sep=" | ", flush=True)


def _mean_logits(folders: Sequence[Path], name: str, grid: Sequence[int]) -> torch.Tensor:
    logits = [resample(torch.from_numpy(np.load(f / f"{name}.npy")).float()[None], grid)[0] for f in folders]
    return torch.stack(logits).mean(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="folders of maps, or several joined by +")
    parser.add_argument("--dataset", default="idrid")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--scale", type=float, default=2, help="pixels are counted on this grid")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
