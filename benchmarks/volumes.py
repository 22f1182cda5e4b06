"""Volumes: quality against cost of a bundle, beside everything that it must beat, written to the bundle's docs.

    python benchmarks/volumes.py measure --bundle left_atrium_mr_dis --data DATA --work WORK --output OUT [--only NAME]
    python benchmarks/volumes.py write --bundle left_atrium_mr_dis --output OUT

DATA is the data set, WORK the folder in which the stages were trained (the ``baseline`` stages are the rivals), OUT a folder for
figures. ``measure`` segments the validation volumes, which no network saw, in a process of its own for each arm, one after the
other, and reads its resident memory; an arm that is there already is left. ``write`` makes ``docs/results.json``,
``docs/curve.png`` and the table of ``docs/README.md``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from documents import step_down, write_json, write_marked
from rivals import load_rival, rival_network
from volume_tables import OURS, RIVAL, SHARES, draw, ours_name, results_table

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.engines.evaluate import Evaluation
from monai_dis.engines.rival_scorers import BoxScorer
from monai_dis.engines.score_arms import score_arms
from monai_dis.inferers import Budget, DropInInferer, IterativeInferer
from monai_dis.networks import TwoStageNet

#: Budget at which ways to choose windows are compared: the least at which every volume has one.
COMPARED_AT = 0.1
NAIVE_SHARE = 0.2  # the least at which a window of the rival fits in beside the coarse pass
NMSW_SHARE = 0.09  # what the peer of record leaves of the sliding window's operations

# How an arm segments: network, inferer, mode, overlap of a plain sliding window.
Way = tuple[Any, IterativeInferer, str, float | None]


def main() -> None:
    options = _options()
    options.run(options)


def _arms(bundle: Any, options: argparse.Namespace) -> dict[str, Callable[[], Way]]:
    """What makes each arm, by name; networks are loaded when it is run."""
    network, inferer = bundle.part("network"), bundle.part("inferer")
    roi = [int(n) for n in bundle.part("rival_window")]
    levels = [inferer.settings.levels[0], 1]
    rival = load_rival(bundle.folder, options.work, 1)

    def ours(budget: Budget) -> Way:
        return network, inferer.with_budget(budget), "dis", None

    def of_rival(share: float) -> Budget:
        """A share of the rival's sliding window, whose windows are larger, and so fewer, than ours."""
        return Budget(sliding_window=share * options.unit)

    def sliding(overlap: float) -> Way:
        plain = IterativeInferer(roi, 1, mode="gaussian", levels=levels)
        return rival, plain, "sliding-window", overlap

    def chosen(scorer: Any, share: float, **how: Any) -> Way:
        """The coarse pass, then windows of the rival at full resolution."""
        pair = TwoStageNet(network.coarse, rival, "none", scorer).eval()
        settings = {
            "overlap": 0.25,
            "mode": "gaussian",
            "levels": levels,
            "budget": Budget(sliding_window=share),
            **how,
        }
        return pair, IterativeInferer(roi, 1, **settings), "dis", None

    def uniform(scale: int) -> Way:
        plain = IterativeInferer(roi, levels=[{"scale": _scaled(inferer.settings.levels[0].scale, scale)}])
        return load_rival(bundle.folder, options.work, scale), plain, "coarse", None

    def score(name: str) -> Way:
        pair = score_arms(network, inferer.without_level_budgets(), [name], _truth_of(bundle, options))[name]
        return pair[0], pair[1].with_budget(of_rival(COMPARED_AT)), "dis", None

    arms: dict[str, Callable[[], Way]] = {OURS[0]: lambda: ours(Budget(windows=0))}
    arms |= {ours_name(share): (lambda share=share: ours(of_rival(share))) for share in SHARES}
    arms |= {
        "ours, the bundle's own budget": lambda: (network, inferer, "dis", None),
        "ours, auto": lambda: ours(Budget.auto()),
        OURS[-1]: lambda: (network, inferer.without_level_budgets().with_budget(Budget.everywhere()), "dis", None),
    }
    arms |= {
        f"{name} at {COMPARED_AT:.0%}": (lambda name=name: score(name))
        for name in ("entropy", "random", "boundary", "oracle")
    }
    if rival is None:
        return arms
    arms |= {f"sliding window, overlap {o:g}": (lambda o=o: sliding(o)) for o in (0.0, 0.25, 0.5)}
    arms["drop-in, the rival alone"] = lambda: (rival, DropInInferer(roi, 1, 0.5, "gaussian"), "dis", None)
    arms["crop to the coarse foreground"] = lambda: chosen(
        BoxScorer(inferer.settings.activation), 9.0, score="gain", selection="ranked", budget=Budget(min_score=1e-6)
    )
    arms["GridPatch and PatchInferer"] = lambda: chosen(
        None, NAIVE_SHARE, overlap=0.0, mode="constant", merge="replace", selection="ranked"
    )
    arms["NMSW's way"] = lambda: chosen(None, NMSW_SHARE, selection="ranked")
    for scale in (2, 4):
        if (options.work / f"baseline_{scale}.pt").is_file():
            arms[f"uniform 1/{scale}"] = lambda scale=scale: uniform(scale)
    return arms


def _measure(options: argparse.Namespace) -> None:
    bundle = _bundle(options)
    options.unit = _unit(bundle, options)
    names = list(_arms(bundle, options))
    for name in names:
        file = options.output / f"{name.replace('/', '_')}.json"
        if file.is_file() or options.only not in (None, name):
            continue
        # A process for each arm: its largest memory is its own, and no warm cache of another serves it.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            figures = pool.submit(_measure_arm, options, name).result()
        write_json(file, figures)
        print(f"{name}: Dice {figures['dice']:.4f}, {figures['seconds']:.1f} s", flush=True)


def _unit(bundle: Any, options: argparse.Namespace) -> float:
    """Operations of the rival's sliding window as a share of those of our refine network, over all cases."""
    rival = rival_network(bundle.folder)
    network, inferer = bundle.part("network"), bundle.part("inferer").with_budget(Budget(windows=0))
    roi = [int(n) for n in bundle.part("rival_window")]
    other = IterativeInferer(roi, levels=[inferer.settings.levels[0], 1], budget=Budget(windows=0))
    pair = TwoStageNet(network.coarse, rival).eval()
    # nothing but the size of the prepared image counts
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")
    sizes = [tuple(bundle.part("preprocessing")(dict(case))["image"].shape) for case in cases]
    blank = {size: torch.zeros((1, *size)) for size in sizes}
    theirs, ours = (
        sum(one.run(blank[size], net).statistics.operations_sliding_window for size in sizes)
        for one, net in ((other, pair), (inferer, network))
    )
    return theirs / ours


def _measure_arm(options: argparse.Namespace, name: str) -> dict[str, Any]:
    bundle = _bundle(options)
    network, inferer, mode, overlap = _arms(bundle, options)[name]()
    # the bundle's postprocessing awaits what its own inferer gives
    inferer = inferer.replaced(output=bundle.part("inferer").settings.output)
    evaluation = Evaluation(
        network, inferer, bundle.part("preprocessing"), bundle.part("postprocessing"), str(options.data),
        options.output / "pages" / name.replace("/", "_"), dataset_name=bundle.part("dataset_name"), mode=mode, overlap=overlap,
        device="cpu",
        label_names=bundle.part("label_names"), on_image=lambda done, total, row: print(f"{name} {done}/{total}", flush=True),
    )  # fmt: skip
    results = evaluation.run()
    summary, rows = results["arms"][0]["summary"], results["rows"]
    return {
        "name": name,
        "images": results["arms"][0]["images"],
        **{key: figures["median" if key.startswith("seconds") else "mean"] for key, figures in summary.items()},
        "dice_of_each": {row["name"]: row["dice"] for row in rows},
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _write(options: argparse.Namespace) -> None:
    bundle = _bundle(options)
    arms = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(options.output.glob("*.json"))]
    by_name = {arm["name"]: arm for arm in arms}
    curve = [by_name[name]["dice"] for name in OURS if name in by_name]
    results = {
        "data": bundle.part("dataset_name"),
        "split": "val",
        "threads": options.threads,
        "largest_step_down_of_dice": step_down(curve),
        "rival": RIVAL,
        "arms": arms,
    }
    docs = bundle.folder / "docs"
    write_json(docs / "results.json", results)
    write_marked(docs / "README.md", "results", results_table(results))
    draw(docs / "curve.png", results)
    print(results_table(results))


def _bundle(options: argparse.Namespace) -> Any:
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    return load_bundle(options.bundle, ("inference", "evaluate"))


def _truth_of(bundle: Any, options: argparse.Namespace) -> Callable[[str], Any]:
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")
    return lambda file: LoadLabeld(keys="label")(next(dict(case) for case in cases if str(case["image"]) == file))[
        "label"
    ]


def _scaled(coarse: Any, scale: int) -> Any:
    """A scale of 2 on the axes that the coarse level shrinks: slices far apart stay as they are."""
    return scale if isinstance(coarse, (int, float)) else [scale if axis > 1 else 1 for axis in coarse]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("measure", _measure), ("write", _write)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--bundle", required=True, help="name or folder of the bundle")
        command.add_argument("--output", type=Path, required=True, help="folder of the figures")
        command.add_argument("--threads", type=int, default=2, help="CPU threads")
        if name == "measure":
            command.add_argument("--data", type=Path, required=True, help="folder of the data set")
            command.add_argument("--work", type=Path, required=True, help="folder of the trained stages")
            command.add_argument("--only", help="this arm alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
