"""What a learned score with its gate is worth: the share of the oracle's gain, beside other scores with the same networks.

    python benchmarks/learned_scores.py --bundle fundus_vessels_dis --data DATA --work WORK --output OUT [--budgets 0.1]

WORK is the folder in which the recipe's stages were trained, gate and scorer among them. The parts and the pair of networks are those of
the bundle's ``learned.yaml``, or of its ``train.yaml`` and ``inference.yaml`` where it has none. Segments the validation images, and
writes ``docs/learned_scores.json`` and the table of ``docs/README.md`` between its marks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from documents import write_json, write_marked
from monai.bundle import ConfigParser

from monai_dis.bundle import load_bundle
from monai_dis.bundle.locate import find_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.engines import Evaluation, assemble
from monai_dis.engines.score_arms import share_of_oracle

SCORES = ("gain", "entropy", "margin", "least_confidence", "poster", "boundary", "random", "oracle")


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    configs = find_bundle(options.bundle) / "configs"
    learned = (configs / "learned.yaml").is_file()
    model = options.output / "learned.pt"
    assemble(_parts(configs / ("learned.yaml" if learned else "train.yaml"), options.work), model)
    layers = ("inference", "learned", "evaluate") if learned else ("inference", "evaluate")
    bundle = load_bundle(options.bundle, layers, model_file=str(model))
    # what is compared is the choice at equal cost
    inferer = bundle.part("inferer").without_level_budgets()
    results = Evaluation(
        bundle.part("network"), inferer, bundle.part("preprocessing"), bundle.part("postprocessing"),
        str(options.data), options.output / "pages", dataset_name=bundle.part("dataset_name"), device="cpu",
        label_names=bundle.part("label_names"), budgets=options.budgets, scores=SCORES,
        on_image=lambda done, total, row: print(f"{done}/{total} {row['name']}", flush=True),
    ).run()  # fmt: skip
    dice = {arm["name"]: arm["summary"]["dice"]["mean"] for arm in results["arms"]}
    content = {
        "data": bundle.part("dataset_name"),
        "images": results["arms"][0]["images"],
        "budgets": options.budgets,
        "dice": dice,
    }
    write_json(bundle.folder / "docs" / "learned_scores.json", content)
    table = learned_table(content)
    write_marked(bundle.folder / "docs" / "README.md", "learned scores", table)
    print(table)


def _parts(config: Path, work: Path) -> dict[str, Path]:
    """Files of the trained stages, as the config joins them."""
    parser = ConfigParser()
    parser.read_config(str(config))
    if config.stem == "train":
        parser.update({"work_dir": str(work)})
        return {key: Path(file) for key, file in parser.get_parsed_content("parts").items()}
    return {key: work / f"{stage}.pt" for key, stage in parser["parts"].items()}


def learned_table(results: Mapping[str, Any]) -> str:
    """Ways to choose windows at equal budgets, and their share of the oracle's gain, as Markdown."""
    dice = results["dice"]
    head = [
        "windows by",
        *[cell for b in results["budgets"] for cell in (f"Dice at {b:.0%}", "share of the oracle's gain")],
    ]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for score in SCORES:
        cells = ["learned gain" if score == "gain" else score.replace("_", " ")]
        for budget in results["budgets"]:
            value, oracle = dice[f"{score} {budget:g}"], dice[f"oracle {budget:g}"]
            share = share_of_oracle(value, dice["coarse"], oracle)
            cells += [f"{value:.4f}", "" if share is None else f"{share:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"{results['images']} validation images; the coarse pass alone has a Dice of {dice['coarse']:.4f}.",
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained stages")
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1], help="shares of a full pass")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
