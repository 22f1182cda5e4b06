"""Lesions in photographs of twelve megapixels: what a bundle finds, at what cost, beside everything that it must beat.

    python benchmarks/lesions.py measure --bundle fundus_lesions_dis --data DATA --work WORK --output OUT [--only GROUP]
    python benchmarks/lesions.py time --bundle fundus_lesions_dis --data DATA --work WORK --output OUT
    python benchmarks/lesions.py write --bundle fundus_lesions_dis --output OUT

DATA is the data set, WORK the folder in which the stages were trained, OUT a folder for figures. ``measure`` takes the measures of
`LesionEvaluation` on the validation images; a group that is there already is left, and groups may run side by side. A rival is the
pretrained network on the whole image at one resolution: trained at it, where the stage ``uniform_<scale>`` is there, or the bundle's own
network. ``time`` goes from file to file in a fresh process for each arm, one after the other, and reads its resident memory. ``write``
makes ``docs/results.json``, ``docs/curve.png``, ``docs/froc.png``, the tables of ``docs/README.md`` and the figures of the front page.
``--model WEIGHTS`` measures weights that are not shipped yet.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from documents import step_down, write_json, write_marked
from lesion_tables import (
    BUDGETS,
    COARSE_SCALE,
    OWN_SCALE,
    RIVAL,
    SCORED_BUDGETS,
    SCORES,
    UNIFORM_SCALES,
    draw,
    front_sentence,
    ours_name,
    results_table,
    rival_name,
    scores_table,
)
from rivals import load_rival
from torch import nn

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.engines.lesion_evaluation import LesionEvaluation, Way, way_of
from monai_dis.engines.score_arms import score_arms
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.networks import FlipAveraged, StackedRefiner, TwoStageNet
from monai_dis.pipeline import Segmenter
from monai_dis.pipeline.modes import make_runner
from monai_dis.pipeline.predict import Predictor

TIMED_IMAGES, TIMED_REPEATS = 2, 2
FULL_SIZE = (4288, 2848)  # of IDRiD

# An arm: a network, how it is run, the mode and the budget.
Arm = tuple[nn.Module, IterativeInferer, str, Budget]


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    model = {} if options.model is None else {"model_file": str(options.model)}
    bundle = load_bundle(options.bundle, ("inference", "evaluate"), model)
    options.run(bundle, options)


def _groups(bundle: Any, options: argparse.Namespace) -> dict[str, Callable[[], dict[str, Arm]]]:
    """The arms by group; the networks of a group are loaded when it is run."""
    network: TwoStageNet = bundle.part("network")
    inferer: IterativeInferer = bundle.part("inferer")
    scored = {share: Budget(operations=share) for share in SCORED_BUDGETS}

    def ours() -> dict[str, Arm]:
        everywhere: dict[str, Arm] = {"ours, every window": (network, inferer, "dis", Budget.everywhere())}
        coarse: dict[str, Arm] = {"coarse pass alone": (network, inferer, "dis", Budget(windows=0))}
        shares: dict[str, Arm] = {ours_name(b): (network, inferer, "dis", Budget(operations=b)) for b in BUDGETS}
        return coarse | shares | everywhere

    def rivals() -> dict[str, Arm]:
        arms: dict[str, Arm] = {}
        own = network.refine[0].refine
        for scale in UNIFORM_SCALES:
            plain = inferer.replaced(levels=[scale], score="entropy")
            if scale != COARSE_SCALE:
                arms[rival_name(scale)] = own, plain, "coarse", Budget(windows=0)
            if (rival := load_rival(bundle.folder, options.work, scale)) is not None and scale != OWN_SCALE:
                arms[rival_name(scale, trained=True)] = rival, plain, "coarse", Budget(windows=0)
        flipped = FlipAveraged(own, axes=[0])
        plain = inferer.replaced(levels=[OWN_SCALE], score="entropy")
        arms[f"{rival_name(OWN_SCALE)}, two flips"] = flipped, plain, "coarse", Budget(windows=0)
        window = inferer.replaced(levels=[8, 2], score="entropy", overlap=0.5)
        arms[RIVAL] = own, window, "sliding-window", Budget.everywhere()
        return arms

    def scores() -> dict[str, Arm]:
        pairs = score_arms(network, inferer, SCORES, lambda file: _truth(bundle, options, file))
        return {f"{name} {share:g}": (*pair, "dis", b) for name, pair in pairs.items() for share, b in scored.items()}

    def oracle() -> dict[str, Arm]:
        pair = score_arms(network, inferer, ["oracle"], lambda file: _truth(bundle, options, file))["oracle"]
        return {f"oracle {share:g}": (*pair, "dis", budget) for share, budget in scored.items()}

    def unstacked() -> dict[str, Arm]:
        """The refine network's answer as it is: what stacking is worth."""
        # new ones let the refined answer stand
        refiners = [StackedRefiner(r.refine, len(r.bias), conditioned=r.conditioned) for r in network.refine]
        plain = TwoStageNet(network.coarse, refiners, network.conditioning, network.scorer).eval()
        how = {"gain": inferer, "entropy": inferer.with_score("entropy")}
        arms: dict[str, Arm] = {
            f"{name}, not stacked {share:g}": (plain, each, "dis", b)
            for name, each in how.items()
            for share, b in scored.items()
        }
        return arms | {"every window, not stacked": (plain, inferer, "dis", Budget.everywhere())}

    return {"ours": ours, "rivals": rivals, "scores": scores, "oracle": oracle, "unstacked": unstacked}


def _measure(bundle: Any, options: argparse.Namespace) -> None:
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")[: options.images]
    for name, arms in _groups(bundle, options).items():
        if (options.output / name / "lesions.json").is_file() or options.only not in (None, name):
            continue
        ways = {label: _way(bundle, arm) for label, arm in arms().items()}
        output = options.output / name
        LesionEvaluation(ways, cases, output, _classes(bundle), on_image=partial(_tell, name)).run()


def _way(bundle: Any, arm: Arm) -> Way:
    network, inferer, mode, budget = arm
    runner = make_runner(network, inferer.replaced(output="logits"), mode, budget)
    return way_of(
        Predictor(runner, network, bundle.part("preprocessing"), bundle.part("probabilities"), torch.device("cpu"))
    )


def _time(bundle: Any, options: argparse.Namespace) -> None:
    """Each arm in a process of its own, in turns, so that a slow spell of the machine meets all of them."""
    groups = _groups(bundle, options)
    names = options.arm or [ours_name(b) for b in BUDGETS] + list(groups["rivals"]())
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(TIMED_REPEATS):
        for name in names:
            command = [sys.executable, __file__, "one", "--arm", name, "--bundle", str(bundle.folder)]
            command += ["--data", str(options.data), "--work", str(options.work), "--threads", str(options.threads)]
            command += [] if options.model is None else ["--model", str(options.model)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {runs[name][-1]}", flush=True)
    figures = {
        name: {
            "seconds_per_image": statistics.median(s for run in own for s in run["seconds"]),
            "seconds_of_process": statistics.median(run["process"] for run in own),
            "peak_memory_bytes": max(run["memory"] for run in own),
        }
        for name, own in runs.items()
    }
    write_json(options.output / "seconds.json", {"threads": options.threads, "arms": figures})


def _one(bundle: Any, options: argparse.Namespace) -> None:
    """One arm from files to files; prints the seconds of each image after the first, and the memory of the process."""
    start = time.perf_counter()
    groups = _groups(bundle, options)
    network, inferer, mode, budget = (groups["ours"]() if options.arm.startswith("ours") else groups["rivals"]())[
        options.arm
    ]
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")[: TIMED_IMAGES + 1]
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        marks.append(time.perf_counter())
        Segmenter(
            network,
            inferer.with_budget(budget),
            bundle.part("preprocessing"),
            bundle.part("postprocessing"),
            [case["image"] for case in cases],
            folder,
            mode=mode,
            device="cpu",
            label_names=bundle.part("label_names"),
            on_record=lambda done, of, record: marks.append(time.perf_counter()),
        ).run()
    seconds = [b - a for a, b in pairwise(marks)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds[1:], "process": time.perf_counter() - start, "memory": memory}))


def _write(bundle: Any, options: argparse.Namespace) -> None:
    docs = bundle.folder / "docs"
    inferer: IterativeInferer = bundle.part("inferer")
    full = _full_pass(bundle, inferer)
    # What was not measured anew stays: the rivals need stages that are trained for them alone.
    file = docs / "results.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"arms": [], "timing": {}}
    arms: dict[str, dict[str, Any]] = {arm["name"]: arm for arm in before["arms"]}
    for path in sorted(options.output.glob("*/lesions.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        arms |= {way["name"]: _arm(way, full) for way in content["ways"]}
    timed = options.output / "seconds.json"
    seconds = json.loads(timed.read_text(encoding="utf-8")) if timed.is_file() else {**before["timing"], "arms": {}}
    curve = [arms["coarse pass alone"], *[arms[ours_name(b)] for b in BUDGETS], arms["ours, every window"]]
    results = {
        "data": bundle.part("dataset_name"),
        "split": "val",
        "operations_full_pass": full,
        "timing": {key: value for key, value in seconds.items() if key != "arms"},
        "largest_step_down_of_average_precision": step_down([arm["mean"]["average_precision"] for arm in curve]),
        "arms": [{**arm, **seconds["arms"].get(name, {})} for name, arm in arms.items()],
    }
    write_json(file, results)
    for mark, table in (("results", results_table(results)), ("scores", scores_table(results))):
        write_marked(docs / "README.md", mark, table)
        print(table, end="\n\n")
    front = bundle.folder.parents[1] / "README.md"
    if front.is_file() and "<!-- lesions -->" in front.read_text(encoding="utf-8"):
        write_marked(front, "lesions", front_sentence(results))
    draw(docs / "curve.png", results)
    if (options.output / "ours" / "froc.png").is_file():
        shutil.copyfile(options.output / "ours" / "froc.png", docs / "froc.png")


def _arm(way: Mapping[str, Any], full: float) -> dict[str, Any]:
    operations = way["operations"]["mean"]
    return {
        "name": way["name"],
        "images": way["images"],
        "operations": operations,
        "fraction_of_full_pass": operations / full,
        "mean": way["mean"],
        "classes": way["classes"],
    }


@torch.no_grad()
def _full_pass(bundle: Any, inferer: IterativeInferer) -> float:
    blank = torch.zeros((1, 3, *FULL_SIZE))
    return inferer.with_budget(Budget(windows=0)).run(blank, bundle.part("network")).statistics.operations_full_pass


def _truth(bundle: Any, options: argparse.Namespace, file: str) -> Any:
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")
    return LoadLabeld(keys="label")(next(dict(case) for case in cases if str(case["image"]) == file))["label"]


def _classes(bundle: Any) -> list[str]:
    return [name for index, name in sorted(bundle.part("label_names").items()) if int(index) > 0]


def _tell(group: str, done: int, total: int, row: Mapping[str, Any]) -> None:
    print(f"{group} {done}/{total} {row['way']} {row['name']} {row.get('error', '')}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, data in (
        ("measure", _measure, True),
        ("time", _time, True),
        ("one", _one, True),
        ("write", _write, False),
    ):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--bundle", required=True, help="name or folder of the bundle")
        command.add_argument("--threads", type=int, default=2, help="CPU threads")
        command.add_argument("--model", type=Path, help="weights in place of the bundle's")
        if name != "one":
            command.add_argument("--output", type=Path, required=True, help="folder of the figures")
        if data:
            command.add_argument("--data", type=Path, required=True, help="folder of the data set")
            command.add_argument("--work", type=Path, required=True, help="folder of the trained stages")
        if name == "measure":
            command.add_argument("--only", help="this group alone")
            command.add_argument("--images", type=int, help="so many images only, to try it")
        if name == "time":
            command.add_argument("--arm", action="append", help="this arm alone; may be repeated")
        if name == "one":
            command.add_argument("--arm", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
