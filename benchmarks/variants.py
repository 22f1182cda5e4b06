"""Variants of a refine stage and of its inference, at equal training steps, on cases that no network saw.

    python benchmarks/variants.py measure --bundle left_atrium_mr_dis --data DATA --work WORK --output OUT [--only NAME]
    python benchmarks/variants.py write --bundle left_atrium_mr_dis --output OUT

The refine stage that they start from is ``benchmarks/variant_recipe.yaml``. WORK is the folder in which the bundle's coarse stages, gate
and scorer were trained. ``measure`` trains each variant's refine network without fold 0 for the same number of steps, fewer than the
bundle's, and segments the cases of fold 0 with it and with the coarse network that did not see them: validation cases are not touched,
since what wins is kept. Gate and scorer learned from answers for all training cases, those of fold 0 too. What is there already is left.
``write`` makes ``docs/variants.json`` and the table of ``docs/README.md``.
"""

from __future__ import annotations

import argparse
import json
import math
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
from variant_networks import CoarseFeatures, FlipAverage

from monai_dis.bundle import load_weights
from monai_dis.bundle.locate import find_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.engines import write_coarse
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.metrics.segmentation import segmentation_metrics
from monai_dis.networks import CalibratedLogits, GatedRefiner, TwoStageNet

RECIPE = Path(__file__).with_name("variant_recipe.yaml")
EPOCHS = 6
FOLD = 0
OVERLAP = 0.25
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
        calibrated: whether the refine network and the scores see calibrated coarse answers.
        scale: of the coarse level, whose networks are then trained here; None for the recipe's.
        features: whether the coarse network's features travel with its logits.
        extra: parts of the bundle's pair that are added, ``"gate"`` and ``"scorer"``.
    """

    stages: tuple[Mapping[str, Any], ...] = ({},)
    conditioning: str = "logits"
    inference: Mapping[str, Any] = field(default_factory=dict)
    flips: bool = False
    calibrated: bool = True
    scale: int | None = None
    features: bool = False
    extra: tuple[str, ...] = ()


def _window(**changes: Any) -> dict[str, Any]:
    return {f"window#1#{key}": value for key, value in changes.items()}


def _variants(options: argparse.Namespace, parser: ConfigParser) -> dict[str, Variant]:
    """Each by what it does otherwise than the recipe, whose configs they start from."""
    backbone = parser["network_def"]["backbone"]
    roi = parser["window"][1]["roi_size"]
    channels = parser.get_parsed_content("network_def#channels")
    alone = {**backbone, "in_channels": backbone["in_channels"] - channels, "out_channels": channels}
    step = {key: value for key, value in parser["step"].items() if key != "coarse_key"}
    half, full = parser.get_parsed_content("half"), 1
    smaller, larger = [max(8, n - 8) for n in roi], [n + 16 for n in roi]
    halo = 8
    refiner = parser["network_def"]
    # of the coarse network's last but one layer: those of its first layer down, and as many from below
    features = 2 * _stage(options, "coarse", {})["network_def"]["channels"][0]
    return {
        "the recipe, without gate and scorer": Variant(),
        "with the learned gate": Variant(extra=("gate",)),
        "with the learned score": Variant(extra=("scorer",)),
        "with both": Variant(extra=("gate", "scorer")),
        "replaced instead of blended": Variant(inference={"merge": "replace"}),
        "the more certain answer stands": Variant(inference={"merge": "entropy"}),
        "no overlap of windows": Variant(inference={"overlap": 0.0}),
        "overlap of a half": Variant(inference={"overlap": 0.5}),
        "windows by rank alone": Variant(inference={"selection": "ranked"}),
        "coarse answer as a mean over flips": Variant(flips=True),
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
        # One network's features mean nothing to another, so these are of the network that saw the training cases.
        "coarse features beside the coarse answer": Variant(
            (
                {
                    "network_def": {
                        "_target_": "variant_networks.WithFeatures",
                        "refiner": _with_inputs(refiner, features),
                        "channels": channels,
                    },
                    "calibrated_dir": "features",
                    **_window(shares=[0.0, 0.0]),
                },
            ),
            features=True,
        ),
        "a wider crop at half the density beside the window": Variant(
            (
                {
                    "network_def": {
                        "_target_": "variant_networks.WithContext",
                        "refiner": _with_inputs(refiner, backbone["in_channels"]),
                    },
                    **_window(roi_size=[2 * n for n in roi]),
                },
            ),
            inference={"halo": [n // 2 for n in roi]},
        ),
        "coarse answers of a network that saw the cases": Variant(({"calibrated_dir": "seen"},)),
        "coarse answers as the network gives them": Variant(({"calibrated_dir": "raw"},), calibrated=False),
        "windows anywhere": Variant((_window(shares=[0.0, 0.0]),)),
        "windows where the coarse answer is uncertain, alone": Variant((_window(shares=[1.0, 0.0]),)),
        "windows at the level's resolution alone": Variant((_window(scales=[half]),)),
        "a level at full resolution too": Variant(inference={"levels": [full]}),
        "a level at full resolution too, with a network of its own": Variant(
            (_window(scales=[half]), _window(scales=[full])), inference={"levels": [full]}
        ),
        "cross-entropy alone": Variant(({"loss#loss#lambda_dice": 0.0},)),
        "batch normalisation": Variant(({"network_def#backbone#norm": "BATCH"},)),
        f"windows of {_times(smaller)}": Variant((_window(roi_size=smaller),), inference={"roi_size": smaller}),
        f"windows of {_times(larger)}": Variant((_window(roi_size=larger),), inference={"roi_size": larger}),
        f"a halo of {halo} around the windows": Variant(
            (_window(roi_size=[n + 2 * halo for n in roi]),), inference={"halo": halo}
        ),
        "coarse pass at half the density": Variant(({"calibrated_dir": "sparser"},), scale=2, calibrated=False),
    }


def _with_inputs(refiner: Mapping[str, Any], more: int) -> dict[str, Any]:
    """A refiner's definition, with a backbone that takes more channels."""
    backbone = refiner["backbone"]
    return {**refiner, "backbone": {**backbone, "in_channels": backbone["in_channels"] + more}}


def _times(size: list[int]) -> str:
    return " x ".join(map(str, size))


def _measure(options: argparse.Namespace) -> None:
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    folder = find_bundle(options.bundle)
    common = {"bundle_root": str(folder), "data_dir": str(options.data), "work_dir": str(options.work), "fold": FOLD}
    parser = _stage(options, "refine", common)
    for name, variant in _variants(options, parser).items():
        target = options.output / f"{name}.json"
        if target.is_file() or options.only not in (None, name):
            continue
        refine = [_trained(dict(overrides), common, options) for overrides in variant.stages]
        figures = _judge(variant, refine, parser, common, options)
        write_json(target, {"name": name, **figures})
        print(f"{name}: {figures}", flush=True)


def _stage(options: argparse.Namespace, name: str, changes: Mapping[str, Any]) -> ConfigParser:
    configs = find_bundle(options.bundle) / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / "stage.yaml"), str(_overlay(configs, name))])
    parser.update(dict(changes))
    return parser


def _overlay(configs: Path, name: str) -> Path:
    return RECIPE if name == "refine" else configs / f"{name}.yaml"


def _trained(overrides: dict[str, Any], common: dict[str, Any], options: argparse.Namespace) -> nn.Module:
    """The refine network of a variant; what was trained for another variant serves again."""
    answers = {
        "seen": _seen,
        "features": _features,
        "raw": lambda *_: options.work / "coarse_out_of_fold",
        "sparser": _sparser,
    }
    if "calibrated_dir" in overrides:
        overrides["calibrated_dir"] = str(answers[overrides["calibrated_dir"]](common, options))
    key = json.dumps(overrides, sort_keys=True)
    index = options.output / "trained.json"
    known: dict[str, int] = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    number = known.setdefault(key, len(known))
    write_json(index, known)
    stage = f"variant_{number}"
    weights = options.output / "work" / f"{stage}.pt"
    settings = common | {"calibrated_dir": str(options.work / "calibrated_out_of_fold")} | overrides
    settings |= {"work_dir": str(options.output / "work"), "stage_name": stage, "epochs": options.epochs}
    if not weights.is_file():
        _run_stage(options, "refine", settings)
    network: nn.Module = load_weights(_stage(options, "refine", settings).get_parsed_content("network_def"), weights)
    return network


def _run_stage(options: argparse.Namespace, name: str, settings: Mapping[str, Any], *more: str) -> None:
    """Train a stage without what it leaves for others."""
    configs = find_bundle(options.bundle) / "configs"
    run_bundle(
        config_file=[str(configs / "stage.yaml"), str(_overlay(configs, name))],
        run=[
            "$monai.utils.set_determinism(@seed)",
            "$@trainer.run()",
            "$dis_engines.export_weights(@ema.ema_model, @stage_dir + '.pt')",
            *more,
        ],
        **settings,
    )


def _seen(common: dict[str, Any], options: argparse.Namespace) -> Path:
    """Coarse answers, calibrated, of the network that was trained on all cases."""
    folder: Path = options.output / "work" / "coarse_seen"
    if not folder.is_dir():
        parser = _stage(options, "coarse", common | {"held_out_list": "$@cases.datalist('train')"})
        network = _calibrated(
            load_weights(parser.get_parsed_content("network_def"), options.work / "coarse.pt"), options
        )
        write_coarse(network, parser.get_parsed_content("coarse_items"), folder)
    return folder


def _features(common: dict[str, Any], options: argparse.Namespace) -> Path:
    """Coarse answers with features, of the network that did not see the fold."""
    folder: Path = options.output / "work" / "coarse_features"
    if not folder.is_dir():
        parser = _stage(options, "coarse", common | {"held_out_list": "$@cases.datalist('train')"})
        network = load_weights(parser.get_parsed_content("network_def"), options.work / f"coarse_fold{FOLD}.pt")
        write_coarse(CoarseFeatures(_calibrated(network, options)), parser.get_parsed_content("coarse_items"), folder)
    return folder


def _sparser(common: dict[str, Any], options: argparse.Namespace) -> Path:
    """Coarse answers at half the density, of networks that are trained like the recipe's, each without a fold."""
    work: Path = options.output / "work_sparser"
    for fold in range(_stage(options, "coarse", common).get_parsed_content("folds")):
        if not (work / f"coarse_fold{fold}.pt").is_file():
            scale = _sparser_scale(options)
            size = _stage(options, "coarse", common).get_parsed_content("full_size")
            settings = common | {"work_dir": str(work), "fold": fold, "coarse_scale": scale}
            settings["window#1#roi_size"] = _eights([n / s for n, s in zip(size, _each(scale), strict=True)])
            _run_stage(
                options, "coarse", settings,
                "$dis_engines.write_coarse(@ema.ema_model, @coarse_items, @oof_dir, @device)",
            )  # fmt: skip
    return work / "coarse_out_of_fold"


def _sparser_scale(options: argparse.Namespace) -> Any:
    scale = _stage(options, "coarse", {}).get_parsed_content("coarse_scale")
    return 2 * scale if isinstance(scale, int) else [2 * s if s > 1 else 1 for s in scale]


def _calibrated(network: nn.Module, options: argparse.Namespace) -> CalibratedLogits:
    """The coarse network as the bundle has it."""
    whole = ConfigParser()
    whole.read_config(str(find_bundle(options.bundle) / "configs" / "inference.yaml"))
    coarse: CalibratedLogits = whole.get_parsed_content("network_def#coarse")
    coarse.load_state_dict(torch.load(options.work / "calibration.pt", weights_only=True), strict=False)
    coarse.network = network
    return coarse.eval()


@torch.no_grad()
def _judge(
    variant: Variant,
    refine: list[nn.Module],
    stage: ConfigParser,
    common: Mapping[str, Any],
    options: argparse.Namespace,
) -> dict[str, float]:
    work = options.work if variant.scale is None else options.output / "work_sparser"
    coarse: nn.Module = load_weights(
        _stage(options, "coarse", common).get_parsed_content("network_def"), work / f"coarse_fold{FOLD}.pt"
    )
    if variant.calibrated:
        coarse = _calibrated(coarse, options)
    whole = ConfigParser()
    whole.read_config(str(find_bundle(options.bundle) / "configs" / "inference.yaml"))
    if "gate" in variant.extra:
        gated = GatedRefiner(refine[0], whole.get_parsed_content("network_def#refine#gate"))
        gated.load_state_dict(torch.load(options.work / "gate.pt", weights_only=True), strict=False)
        refine = [gated.eval()]
    scorer = None
    if "scorer" in variant.extra:
        scorer = load_weights(whole.get_parsed_content("network_def#scorer"), options.work / "scorer.pt")
    if variant.features:
        coarse = CoarseFeatures(coarse).eval()
    network = TwoStageNet(
        FlipAverage(coarse) if variant.flips else coarse,
        refine[0] if len(refine) == 1 else refine,
        variant.conditioning,
        scorer,
    ).eval()
    settings = {key: value for key, value in whole["inferer"].items() if key not in ("_target_", "budget")}
    settings |= {"roi_size": stage["window"][1]["roi_size"], "overlap": OVERLAP}
    changes = dict(variant.inference)
    dense, sparse = ({k: level[k] for k in ("scale", "roi_size") if k in level} for level in settings["levels"])
    if variant.scale is not None:
        dense["scale"] = _sparser_scale(options)
        # the same field of view
        dense["roi_size"] = _eights(
            [
                n * int(a) / int(b)
                for n, a, b in zip(
                    dense["roi_size"], _each(settings["levels"][0]["scale"]), _each(dense["scale"]), strict=True
                )
            ]
        )
    channels = int(stage.get_parsed_content("network_def#channels"))
    finer = [{"scale": scale} for scale in changes.pop("levels", [])]
    halo, score = changes.pop("halo", 0), "gain" if scorer is not None else "entropy"
    settings["levels"] = [dense, *[{**level, "halo": halo, "score": score} for level in (sparse, *finer)]]
    if variant.features and channels == 1:
        settings["activation"] = "sigmoid"  # features are no classes
    inferer = IterativeInferer(**settings | changes)
    budgets = {"coarse": Budget(windows=0), "share": Budget(sliding_window=SHARE), "everywhere": Budget.everywhere()}
    rows: dict[str, list[dict[str, float]]] = {key: [] for key in budgets}
    items = stage.get_parsed_content("held_out_list")
    prepare = stage.get_parsed_content("prepare", instantiate=True)
    for case in items:
        item = dict(case)
        for transform in prepare:
            item = transform(item)
        image = torch.as_tensor(item["image"])[None].float()
        for key, budget in budgets.items():
            labels = inferer.with_budget(budget).run(image, network).labels()[0, :channels]
            rows[key].append(
                segmentation_metrics(labels, torch.as_tensor(item["label"]), max(2, channels), spacing=stage["spacing"])
            )
    return {
        f"{measure}_{key}": statistics.fmean(row[measure] for row in own)
        for key, own in rows.items()
        for measure in MEASURES
    } | {"cases": len(items), "epochs": options.epochs}


def _eights(size: list[float]) -> list[int]:
    """Up to multiples of 8, which the coarse networks take."""
    return [-(-math.ceil(n) // 8) * 8 for n in size]


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * 3


def _write(options: argparse.Namespace) -> None:
    found = [
        json.loads(file.read_text(encoding="utf-8")) for file in options.output.glob("*.json") if file.stem != "trained"
    ]
    by_name = {figures["name"]: figures for figures in found}
    parser = _stage(options, "refine", {"bundle_root": str(find_bundle(options.bundle))})
    rows = [by_name[name] for name in _variants(options, parser) if name in by_name]
    docs = find_bundle(options.bundle) / "docs"
    write_json(docs / "variants.json", {"share_of_sliding_window": SHARE, "fold": FOLD, "variants": rows})
    table = variants_table(rows)
    write_marked(docs / "README.md", "variants", table)
    print(table)


def variants_table(rows: list[dict[str, Any]]) -> str:
    """What every variant reaches, as Markdown; rows as ``measure`` writes them."""
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
