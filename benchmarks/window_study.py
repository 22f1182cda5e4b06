"""What windows could gain, from answers that training stages left: which class at which level, which choice of windows, at what budget.

    python benchmarks/window_study.py --data DATA --coarse FOLDER --refined FOLDER [--window 256] [--budgets 0.1 0.2]

FOLDERs hold ``<name>.npy`` logits ``(C, *grid)`` of overlapping classes for photographs that no network of them saw, the refined ones of
whole photographs on a finer grid. No network runs, so a plan is judged in minutes before it is trained: both answers are stacked class by
class as `monai_dis.engines.fit_stack` does it, windows of a contiguous grid are replaced, and average precision is pooled over all pixels
of the refined grid. A budget is a share of the area.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.engines import fit_stack
from monai_dis.engines.stacking import SHARES
from monai_dis.inferers.grid import resample
from monai_dis.inferers.score import uncertainty
from monai_dis.metrics import PrecisionRecall
from monai_dis.networks import StackedRefiner

SCORES = ("oracle", "entropy", "random")


class Items:
    """Cases with both answers and the truth on the refined grid; read anew each time."""

    def __init__(self, options: argparse.Namespace) -> None:
        data = read_dataset(options.dataset, options.data)
        self.classes = data.label_names[1:]
        self.folders = {"coarse": options.coarse, "refined": options.refined}
        known = [{f.stem for f in folder.glob("*.npy")} for folder in self.folders.values()]
        every = [item for split in ("train", "val") for item in data.datalist(split)]
        self.cases = [item for item in every if all(item["name"] in names for names in known)]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for case in self.cases:
            maps = {
                key: torch.from_numpy(np.load(f / f"{case['name']}.npy")).float() for key, f in self.folders.items()
            }
            label = LoadLabeld(keys="label")(case)["label"].as_tensor()
            truth = resample(label[None].float(), maps["refined"].shape[1:])[0] >= 0.5
            yield {**maps, "label": truth, "name": case["name"]}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    items = Items(options)
    stack = StackedRefiner(nn.Identity(), len(items.classes))
    with tempfile.TemporaryDirectory() as folder:
        areas = fit_stack(stack, items, Path(folder) / "stack.pt")
    print(f"{len(items.cases)} cases; average precision by share of the refined answer, everywhere")
    print("share", *SHARES, sep=" | ")
    for name, row in zip(items.classes, areas, strict=True):
        print(name, *(f"{a:.3f}" for a in row), sep=" | ")

    weights = _class_weights(items, stack)
    arms = [(0.0, "coarse"), (1.0, "everywhere"), *((b, s) for s in SCORES for b in options.budgets)]
    measures = {arm: PrecisionRecall(len(items.classes)) for arm in arms}
    generator = torch.Generator().manual_seed(0)
    for item in items:
        below, stands = _answers(item, stack)
        gain = _gain(below, stands, item["label"])
        scores = {
            "oracle": (gain * weights).sum(1, keepdim=True),
            "entropy": uncertainty(below, activation="sigmoid"),
            "random": torch.rand((1, 1, *below.shape[2:]), generator=generator),
        }
        for (share, name), measure in measures.items():
            chosen = _chosen(scores.get(name), below.shape[2:], options.window, share)
            measure.add(torch.where(chosen, stands, below)[0].sigmoid(), item["label"])
    print("arm", "share", *items.classes, "mean", sep=" | ")
    for (share, name), measure in measures.items():
        values = [measure.area(index) for index in range(len(items.classes))]
        print(name, share, *(f"{v:.3f}" for v in values), f"{np.nanmean(values):.4f}", sep=" | ")


def _answers(item: Mapping[str, Any], stack: StackedRefiner) -> tuple[Tensor, Tensor]:
    """The answer below and what stands where it is refined, (1, C, *grid)."""
    refined = item["refined"][None]
    below = resample(item["coarse"][None], refined.shape[2:])
    return below, stack.combine(below, refined)


def _gain(below: Tensor, stands: Tensor, truth: Tensor) -> Tensor:
    """By how much squared errors fall, (1, C, *grid)."""
    target = truth[None].float()
    return (below.sigmoid() - target).square() - (stands.sigmoid() - target).square()


def _class_weights(items: Items, stack: StackedRefiner) -> Tensor:
    """Each class by what it could gain in all, as `monai_dis.engines.write_gain` weighs them."""
    total = sum(_gain(*_answers(i, stack), i["label"]).clamp(min=0).sum((0, 2, 3)) for i in items)
    assert isinstance(total, Tensor)
    return torch.where(total > 0, 1 / total.clamp(min=1e-9), 0.0).reshape(1, -1, 1, 1)


def _chosen(score: Tensor | None, grid: Sequence[int], window: int, share: float) -> Tensor:
    """Mask (1, 1, *grid) of the windows with the largest sums."""
    if score is None or share in (0, 1):
        return torch.full((1, 1, *grid), share == 1)
    padded = F.pad(score, (0, -grid[1] % window, 0, -grid[0] % window))
    sums = F.avg_pool2d(padded, window).flatten()
    picked = torch.zeros(len(sums), dtype=torch.bool)
    picked[sums.argsort(descending=True)[: round(share * grid[0] * grid[1] / window**2)]] = True
    cells = picked.reshape(1, 1, *(n // window for n in padded.shape[2:])).float()
    return F.interpolate(cells, scale_factor=window, mode="nearest")[..., : grid[0], : grid[1]] > 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="idrid")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--coarse", type=Path, required=True, help="folder of the answers below")
    parser.add_argument("--refined", type=Path, required=True, help="folder of the refined answers")
    parser.add_argument("--window", type=int, default=256, help="side of a window on the refined grid")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.25, 0.4])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
