"""One budget for a whole cohort against the same budget for each study: Dice at equal operations, on a validation set.

    python benchmarks/cohort_budget.py --bundle left_atrium_mr_dis --data DATA [--shares 0.02 0.05]

Writes ``docs/cohort_budget.json`` and the table of ``docs/cohorts.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from documents import write_json, write_marked

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.cohort import CohortStudy, StudySegmenter, UnitSettings
from monai_dis.cohort.shared_budget import shares_of
from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.data.images import read_image
from monai_dis.metrics.segmentation import segmentation_metrics

PAGE = Path(__file__).parents[1] / "docs" / "cohorts.md"
RESULTS = PAGE.with_name("cohort_budget.json")


def main() -> None:
    options = _options()
    quiet_third_parties()
    bundle = load_bundle(options.bundle, ("inference", "evaluate"))
    cases = [dict(case) for case in read_dataset(bundle.part("dataset_name"), options.data).datalist("val")]
    classes = max(2, len(bundle.metadata.classes))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for share in options.shares:
            for arm, records in _arms(options, cases, share, Path(folder)).items():
                dice = [_dice(case, record, classes) for case, record in zip(cases, records, strict=True)]
                operations = [record.operations for record in records]
                rows.append({"share": share, "arm": arm, "dice": dice, "operations": operations})
                print(f"{share:g} {arm}: Dice {fmean(dice):.4f}, {sum(operations) / 1e9:.2f} GMAC", flush=True)
    results = {"bundle": options.bundle, "cases": [case["name"] for case in cases], "rows": rows}
    write_json(RESULTS, results)
    write_marked(PAGE, "cohort budget", _table(results))


def _arms(options: argparse.Namespace, cases: list[dict[str, Any]], share: float, folder: Path) -> dict[str, Any]:
    studies = [CohortStudy(str(case["name"]), image=Path(case["image"])) for case in cases]
    each = StudySegmenter(UnitSettings(options.bundle, {"device": "cpu", "operations": share}, threads=1))
    together = StudySegmenter(UnitSettings(options.bundle, {"device": "cpu"}, threads=1))
    output = folder / f"together {share}"
    surveys = {study.name: together.survey(study, output) for study in studies}
    shares = shares_of(surveys, share)
    shared = []
    for study in studies:
        record = together(study, output, shares[study.name])
        # The coarse pass and its scores were paid before.
        paid = sum(one.paid for one in surveys[study.name])
        shared.append(type(record)(**{**vars(record), "operations": record.operations + paid}))
    return {
        "the same for each": [each(study, folder / f"each {share}") for study in studies],
        "shared by all": shared,
    }


def _dice(case: dict[str, Any], record: Any, classes: int) -> float:
    truth = LoadLabeld(keys="label")(dict(case))["label"]
    found = read_image(record.outputs["output"])
    return float(
        segmentation_metrics(torch.as_tensor(found).long(), torch.as_tensor(truth).long(), classes, spacing=None)[
            "dice"
        ]
    )


def _table(results: dict[str, Any]) -> str:
    lines = [
        f"`{results['bundle']}`, {len(results['cases'])} validation volumes:",
        "",
        "| budget | of which | mean Dice | lowest Dice | GMAC in all | least and most for a volume |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        gmac = [each / 1e9 for each in row["operations"]]
        lines.append(
            f"| {row['share']:.0%} of a full pass | {row['arm']} | {fmean(row['dice']):.4f} | {min(row['dice']):.4f} "
            f"| {sum(gmac):.1f} | {min(gmac):.2f}, {max(gmac):.2f} |"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder, with one sparse level or more")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.04, 0.06, 0.1], help="of the full passes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
