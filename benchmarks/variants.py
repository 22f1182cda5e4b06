"""Variants of a recipe's refine stage and of its inference, at equal training steps, on cases that no network saw.

    python benchmarks/variants.py measure --bundle left_atrium_mr_dis --data DATA --work WORK --output OUT [--only NAME]
    python benchmarks/variants.py write --bundle left_atrium_mr_dis --output OUT

WORK is the folder in which the recipe's coarse stages were trained. ``measure`` trains each variant's refine network without fold 0
for the same number of steps, fewer than the recipe's, and segments the cases of fold 0 with it and with the coarse network that did not
see them: validation cases are not touched, since what wins is kept. What is there already is left. ``write`` makes
``docs/variants.json`` and the table of ``docs/README.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from documents import write_json, write_marked
from monai.bundle import ConfigParser
from monai.bundle.scripts import run as run_bundle
from torch import nn
from variant_networks import FlipAverage

from monai_dis.bundle import load_weights
from monai_dis.bundle.locate import find_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.engines import write_coarse
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.metrics.segmentation import segmentation_metrics
from monai_dis.networks import TwoStageNet

EPOCHS = 10
FOLD = 0
SHARE = 0.05  # of the sliding window at overlap 0.5
MEASURES = ("dice", "hd95", "surface_dice")


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe.

    Attributes:
        stages: overrides of the refine stage, one mapping for each refine network; a single one serves all levels.
        conditioning: of the pair.
        inference: overrides of the inferer.
        flips: whether the coarse answer is a mean over flips.
    """

    stages: tuple[Mapping[str, Any], ...] = ({},)
    conditioning: str = "logits"
    inference: Mapping[str, Any] = field(default_factory=dict)
    flips: bool = False


def _window(**changes: Any) -> dict[str, Any]:
    return {f"window#1#{key}": value for key, value in changes.items()}


def _variants(parser: ConfigParser) -> dict[str, Variant]:
    """Each by what it does otherwise than the recipe, whose configs they start from."""
    backbone = parser["network_def"]["backbone"]
    roi = parser["window"][1]["roi_size"]
    channels = parser["network_def"]["channels"]
    alone = {**backbone, "in_channels": backbone["in_channels"] - channels, "out_channels": channels}
    step = {key: value for key, value in parser["step"].items() if key != "coarse_key"}
    scales = list(dict.fromkeys(map(str, parser["window"][1]["scales"])))
    each = tuple({**_window(scales=[json.loads(scale)])} for scale in scales)
    smaller, larger = [n * 2 // 3 for n in roi], [n * 4 // 3 for n in roi]
    return {
        "the recipe": Variant(),
        "refine network without the coarse answer": Variant(
            ({"network_def": alone, "step": step},), conditioning="none"
        ),
        "direct answer, not a correction": Variant(
            (
                {
                    "network_def": {
                        "_target_": "variant_networks.Direct",
                        "backbone": {**backbone, "out_channels": channels},
                    }
                },
            )
        ),
        "coarse answers of a network that saw the cases": Variant(({"oof_dir": "seen"},)),
        "windows anywhere": Variant((_window(shares=[0.0, 0.0]),)),
        "windows where the coarse answer is uncertain, alone": Variant((_window(shares=[1.0, 0.0]),)),
        "cross-entropy alone": Variant(({"loss#loss": {"_target_": "torch.nn.BCEWithLogitsLoss"}},)),
        "batch normalisation": Variant(({"network_def#backbone#norm": "BATCH"},)),
        f"windows of {smaller[0]}": Variant((_window(roi_size=smaller),), inference={"roi_size": smaller}),
        f"windows of {larger[0]}": Variant((_window(roi_size=larger),), inference={"roi_size": larger}),
        "a refine network for each level": Variant(each[::-1] if scales[0] == "1" else each),
        "replaced instead of blended": Variant(inference={"merge": "replace"}),
        "the more certain answer stands": Variant(inference={"merge": "entropy"}),
        "mean of both answers": Variant(inference={"merge": "average"}),
        "no overlap of windows": Variant(inference={"overlap": 0.0}),
        "overlap of a half": Variant(inference={"overlap": 0.5}),
        "windows by rank alone": Variant(inference={"selection": "ranked"}),
        "coarse answer as a mean over flips": Variant(flips=True),
    }


def _measure(options: argparse.Namespace) -> None:
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    folder = find_bundle(options.bundle)
    files = [str(folder / "configs" / name) for name in ("stage.yaml", "refine.yaml")]
    common = {"bundle_root": str(folder), "data_dir": str(options.data), "fold": FOLD}
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(common | {"work_dir": str(options.work)})
    for name, variant in _variants(parser).items():
        target = options.output / f"{name}.json"
        if target.is_file() or options.only not in (None, name):
            continue
        refine = [_trained(dict(overrides), files, common, options) for overrides in variant.stages]
        figures = _judge(variant, refine, parser, options)
        write_json(target, {"name": name, **figures})
        print(f"{name}: {figures}", flush=True)


def _trained(
    overrides: dict[str, Any], files: list[str], common: dict[str, Any], options: argparse.Namespace
) -> nn.Module:
    """The refine network of a variant; what was trained for another variant serves again."""
    if overrides.get("oof_dir") == "seen":
        overrides["oof_dir"] = str(_seen(common, options))
    key = json.dumps(overrides, sort_keys=True)
    index = options.output / "trained.json"
    known: dict[str, int] = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    number = known.setdefault(key, len(known))
    write_json(index, known)
    name = f"variant_{number}"
    weights = options.output / "work" / f"{name}.pt"
    settings = common | {"oof_dir": str(options.work / "coarse_out_of_fold")} | overrides
    if not weights.is_file():
        run_bundle(
            config_file=files,
            work_dir=str(options.output / "work"),
            stage_name=name,
            epochs=options.epochs,
            run=[
                "$monai.utils.set_determinism(@seed)",
                "$@trainer.run()",
                "$dis_engines.export_weights(@ema.ema_model, @stage_dir + '.pt')",
            ],
            **settings,
        )
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(settings)
    network: nn.Module = load_weights(parser.get_parsed_content("network_def"), weights)
    return network


def _seen(common: dict[str, Any], options: argparse.Namespace) -> Path:
    """Coarse answers of the network that was trained on all cases."""
    folder: Path = options.output / "work" / "coarse_seen"
    if not folder.is_dir():
        parser = _coarse_stage(options)
        parser.update(common | {"work_dir": str(options.work), "held_out_list": "$@cases.datalist('train')"})
        network = load_weights(parser.get_parsed_content("network_def"), options.work / "coarse.pt")
        write_coarse(network, parser.get_parsed_content("coarse_items"), folder)
    return folder


def _judge(
    variant: Variant, refine: list[nn.Module], stage: ConfigParser, options: argparse.Namespace
) -> dict[str, float]:
    coarse: nn.Module = load_weights(
        _coarse_stage(options).get_parsed_content("network_def"), options.work / f"coarse_fold{FOLD}.pt"
    )
    network = TwoStageNet(
        FlipAverage(coarse) if variant.flips else coarse,
        refine[0] if len(refine) == 1 else refine,
        variant.conditioning,
    ).eval()
    shipped = ConfigParser()
    shipped.read_config(str(find_bundle(options.bundle) / "configs" / "inference.yaml"))
    settings = {key: value for key, value in shipped["inferer"].items() if key not in ("_target_", "budget")}
    # without a scorer: what is compared is the refine stage
    settings["levels"] = [
        {key: value for key, value in level.items() if key != "score"} for level in settings["levels"]
    ]
    inferer = IterativeInferer(**settings | dict(variant.inference))
    budgets = {"coarse": Budget(windows=0), "share": Budget(sliding_window=SHARE), "everywhere": Budget.everywhere()}
    rows: dict[str, list[dict[str, float]]] = {key: [] for key in budgets}
    classes = int(stage["network_def"]["channels"])
    items = stage.get_parsed_content("held_out_list")
    prepare = stage.get_parsed_content("prepare", instantiate=True)
    for case in items:
        item = dict(case)
        for transform in prepare:
            item = transform(item)
        image = torch.as_tensor(item["image"])[None].float()
        for key, budget in budgets.items():
            labels = inferer.with_budget(budget).run(image, network).labels()[0]
            rows[key].append(
                segmentation_metrics(labels, torch.as_tensor(item["label"]), max(2, classes), spacing=stage["spacing"])
            )
    return {
        f"{measure}_{key}": statistics.fmean(row[measure] for row in own)
        for key, own in rows.items()
        for measure in MEASURES
    } | {"cases": len(items), "epochs": options.epochs}


def _coarse_stage(options: argparse.Namespace) -> ConfigParser:
    configs = find_bundle(options.bundle) / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("stage.yaml", "coarse.yaml")])
    return parser


def _write(options: argparse.Namespace) -> None:
    found = [
        json.loads(file.read_text(encoding="utf-8")) for file in options.output.glob("*.json") if file.stem != "trained"
    ]
    by_name = {figures["name"]: figures for figures in found}
    configs = find_bundle(options.bundle) / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("stage.yaml", "refine.yaml")])
    rows = [by_name[name] for name in _variants(parser) if name in by_name]
    docs = configs.parent / "docs"
    write_json(docs / "variants.json", {"share_of_sliding_window": SHARE, "fold": FOLD, "variants": rows})
    table = _table(rows)
    write_marked(docs / "README.md", "variants", table)
    print(table)


def _table(rows: list[dict[str, Any]]) -> str:
    head = [
        "variant",
        *[f"{m} {where}" for where in (f"at {SHARE:.0%}", "everywhere") for m in ("Dice", "HD95", "surface Dice")],
    ]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    first = rows[0]
    lines.append(_row("coarse pass alone", [first[f"{m}_coarse"] for m in MEASURES] * 2))
    lines += [_row(row["name"], [row[f"{m}_{k}"] for k in ("share", "everywhere") for m in MEASURES]) for row in rows]
    steps = first["epochs"]
    return "\n".join(
        [
            *lines,
            "",
            f"{first['cases']} cases of fold {FOLD}; every refine network after {steps} epochs of the recipe's steps.",
        ]
    )


def _row(name: str, values: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{v:.4f}" if i % 3 != 1 else f"{v:.2f}" for i, v in enumerate(values)) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("measure", _measure), ("write", _write)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--bundle", required=True, help="name or folder of the bundle")
        command.add_argument("--output", type=Path, required=True, help="folder of the figures")
        if name == "measure":
            command.add_argument("--data", type=Path, required=True, help="folder of the data set")
            command.add_argument("--work", type=Path, required=True, help="folder of the trained coarse stages")
            command.add_argument("--epochs", type=int, default=EPOCHS, help="of training, for each variant")
            command.add_argument("--threads", type=int, default=1, help="CPU threads")
            command.add_argument("--only", help="this variant alone")
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    options.run(options)
