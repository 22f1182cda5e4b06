"""Quality against cost of a bundle and of its rivals, written to the bundle's docs.

    python benchmarks/quality.py --bundle skin_lesion_dis --data DATA --work WORK [--poster REPRODUCED/results.json]
    python benchmarks/quality.py --bundle skin_lesion_dis --poster REPRODUCED/results.json

The second adds the poster's arms to what was measured before.

DATA is the data set, WORK the folder in which the bundle's stages were trained (``coarse``, ``refine`` and the ``baseline``
stages). Every arm segments the validation images, which no network saw, one after the other in one process; metrics are taken on
the images' own grid. Writes ``docs/results.json`` and ``docs/curve.png``, and the table of ``docs/README.md`` between its marks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from documents import step_down, write_json, write_marked
from rivals import load_rival

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.engines.evaluate import Evaluation
from monai_dis.inferers import IterativeInferer

BUDGETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0)
MEASURES = ("dice", "hd95", "surface_dice", "operations", "seconds")

Arm = dict[str, Any]


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, ("inference", "evaluate"))
    docs = bundle.folder / "docs"
    results = _measure(bundle, options) if options.data else json.loads((docs / "results.json").read_text())
    if options.poster:
        full = next(arm["operations_full_pass"] for arm in results["arms"] if arm.get("operations_full_pass"))
        ours = [arm for arm in results["arms"] if arm["kind"] != "poster"]
        results["arms"] = ours + _poster(options.poster, full)
    write_json(docs / "results.json", results)
    write_marked(docs / "README.md", "results", table(results))
    _draw(docs / "curve.png", results["arms"])
    print(table(results))


def _measure(bundle: Any, options: argparse.Namespace) -> dict[str, Any]:
    arms = list(_arms(bundle, options))
    full = next(arm["operations_full_pass"] for arm in arms if arm.get("operations_full_pass"))
    for arm in arms:
        arm["fraction_of_full_pass"] = arm["operations"] / full
    return {
        "data": bundle.part("dataset_name"),
        "split": "val",
        "images": arms[0]["images"],
        "threads": options.threads,
        "measures": {
            "dice": "hard Dice, mean over images",
            "hd95": "95 % Hausdorff distance, pixels",
            "surface_dice": "surface Dice at 2 pixels",
            "operations": "multiply-accumulates per image",
            "seconds": "per image, median, reading and writing of labels included",
        },
        "largest_step_down_of_dice": step_down([a["dice"] for a in arms if a["kind"] in ("coarse", "dis")]),
        "arms": arms,
    }


def table(results: dict[str, Any]) -> str:
    """The arms as a Markdown table."""
    lines = [
        "| | Dice | HD95 | surface Dice | GMAC | share of a full pass | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in results["arms"]:
        lines.append(
            f"| {arm['name']} | {arm['dice']:.4f} | {arm['hd95']:.1f} | {arm['surface_dice']:.3f} | "
            f"{arm['operations'] / 1e9:.2f} | {arm['fraction_of_full_pass']:.1%} | {arm['seconds']:.2f} |"
        )
    step = results["largest_step_down_of_dice"]
    lines += [
        "",
        f"{results['images']} validation images of {results['data']}; largest step down of Dice as the budget grows: {step:.4f}.",
    ]
    return "\n".join(lines)


def _arms(bundle: Any, options: argparse.Namespace) -> Iterator[Arm]:
    network, inferer = bundle.part("network"), bundle.part("inferer")
    yield from _evaluate(bundle, options, network, inferer, "coarse", {"coarse": "coarse pass alone"}, mode="coarse")
    names = {f"dis {share:g}": f"ours at {share:.0%} of a full pass" for share in BUDGETS}
    yield from _evaluate(bundle, options, network, inferer, "dis", names, budgets=BUDGETS)
    yield from _evaluate(
        bundle,
        options,
        network,
        inferer,
        "dis",
        {"sliding-window": "ours, every window"},
        mode="sliding-window",
        overlap=float(inferer.settings.overlap),
    )
    for scale in (1, 2, 4, 8):
        rival = load_rival(bundle.folder, options.work, scale)
        if rival is None:
            continue
        plain = IterativeInferer(roi_size=inferer.settings.roi_size, levels=[scale])
        title = "baseline, whole image" if scale == 1 else f"baseline, whole image at 1/{scale}"
        yield from _evaluate(bundle, options, rival, plain, "baseline", {"coarse": title}, mode="coarse")


def _evaluate(
    bundle: Any, options: argparse.Namespace, network: Any, inferer: Any, kind: str, names: dict[str, str], **how: Any
) -> Iterator[Arm]:
    with tempfile.TemporaryDirectory() as folder:
        evaluation = Evaluation(
            network,
            inferer,
            bundle.part("preprocessing"),
            bundle.part("postprocessing"),
            str(options.data),
            folder,
            dataset_name=bundle.part("dataset_name"),
            device="cpu",
            on_image=lambda done, total, row: print(f"\r{kind} {done}/{total}", end="", flush=True),
            **how,
        )
        results = evaluation.run()
    print()
    for arm in results["arms"]:
        summary = arm["summary"]
        yield {
            "name": names[arm["name"]],
            "kind": kind,
            "images": arm["images"],
            **{key: summary[key]["median" if key == "seconds" else "mean"] for key in MEASURES},
            "operations_full_pass": _full_pass(summary) if kind != "baseline" else None,
        }


def _full_pass(summary: dict[str, Any]) -> float:
    return float(summary["operations"]["mean"] / summary["fraction_of_full_pass"]["mean"])


def _poster(path: Path, full: float) -> list[Arm]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [
        {
            "name": f"poster's recipe, {row['label']}",
            "kind": "poster",
            "arm": row["arm"],
            "dice": row["dice"],
            "hd95": row["hd95_px"],
            "surface_dice": row["surface_dice_2px"],
            "operations": row["operations"],
            "seconds": row["seconds"],
            "fraction_of_full_pass": row["operations"] / full,
        }
        for row in rows
        if row["arm"] in ("coarse", "dis", "baseline")
    ]


def _draw(path: Path, arms: list[Arm]) -> None:
    from monai_dis.reports.curves import Curve, draw_curves

    curves = []
    for label, chosen in (
        ("deep iterative segmentation", [a for a in arms if a["kind"] in ("coarse", "dis")]),
        ("whole image, uniform resolution", [a for a in arms if a["kind"] == "baseline"]),
        ("the poster's recipe", [a for a in arms if a.get("arm") == "dis"]),
        ("the poster's recipe, uniform resolution", [a for a in arms if a.get("arm") == "baseline"]),
    ):
        line = sorted(chosen, key=lambda a: a["fraction_of_full_pass"])
        if line:
            curves.append(Curve(label, [a["fraction_of_full_pass"] for a in line], [a["dice"] for a in line]))
    draw_curves(curves, path, log_x=True, x_ticks=(0.03, 0.1, 0.25, 0.5, 1, 4))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder of the bundle")
    parser.add_argument("--data", type=Path, help="folder of the data set; without it the figures measured before stay")
    parser.add_argument("--work", type=Path, help="folder of the trained stages, with --data")
    parser.add_argument("--poster", type=Path, help="results.json of `monai-dis reproduce`, to add its arms")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args()
    if (options.data is None) != (options.work is None) or not (options.data or options.poster):
        parser.error("give --data and --work to measure, or --poster to add the poster's arms to what was measured")
    return options


if __name__ == "__main__":
    main()
