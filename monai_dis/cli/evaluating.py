"""`monai-dis evaluate`: the bundle's own evaluation, with a progress bar and a table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from monai_dis.bundle import find_bundle, load_bundle
from monai_dis.cli.console import image_progress, out, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.cli.segmenting import device_override

__all__ = ["run_evaluate"]


def run_evaluate(bundle: str, overrides: Mapping[str, Any]) -> None:
    """Evaluate a bundle.

    Args:
        bundle: name or folder.
        overrides: entries of its evaluate config, from the command line.
    """
    folder = find_bundle(bundle)
    quiet_third_parties()
    with working("loading the bundle"):
        loaded = load_bundle(folder, ("inference", "evaluate"), device_override(overrides))
        evaluation = loaded.part("evaluator")
    with image_progress("evaluating") as advance:

        def on_image(done: int, total: int, row: Mapping[str, Any]) -> None:
            advance(done, total, "")

        evaluation.on_image = on_image
        results = evaluation.run()
    for arm in results["arms"]:
        out.print(_table(arm))
    out.print(f"results in {overrides['output_dir']}: metrics.csv, metrics.json", highlight=False)


def _table(arm: Mapping[str, Any]) -> Table:
    cost = arm["summary"].get("fraction_of_full_pass", {}).get("mean")
    title = arm["name"] if cost is None else f"{arm['name']}: {cost:.1%} of a full pass, {arm['images']} images"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in ("measure", "mean", "std", "median", "images"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for name, values in arm["summary"].items():
        table.add_row(name, *(_number(values[key]) for key in ("mean", "std", "median")), str(values["count"]))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
