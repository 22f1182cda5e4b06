"""One budget for a whole cohort against the same budget for each study: Dice at equal operations, on a validation set.

Windows are whole: a study that cannot pay for one leaves its share over, where a pool can spend it on another study. So the same budget for
each is given once as it is, and once so large that all together spend what the pool spent; between two budgets that come next to that, Dice
is interpolated, as if studies drawn by lot had the larger one.

    python benchmarks/cohort_budget.py --bundle left_atrium_mr_dis --data DATA [--shares 0.02 0.05]

Writes ``docs/cohort_budget.json`` and the table of ``docs/cohorts.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
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
SHARES_APART = 1e-3  # of a full pass: budgets for each that lie closer are neighbours


def main() -> None:
    options = _options()
    quiet_third_parties()
    bundle = load_bundle(options.bundle, ("inference", "evaluate"))
    cases = [dict(case) for case in read_dataset(bundle.part("dataset_name"), options.data).datalist("val")]
    classes = max(2, len(bundle.metadata.classes))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cohort = _Cohort(options.bundle, cases, classes, Path(folder))
        for share in options.shares:
            shared = cohort.together(share)
            arms = {
                "the same for each": cohort.each(share),
                "the same for each, at the operations of the shared one": cohort.each_spending(shared.spent),
                "shared by all": shared,
            }
            for arm, outcome in arms.items():
                rows.append({"share": share, "arm": arm, "dice": outcome.dice, "operations": outcome.operations})
                print(f"{share:g} {arm}: Dice {fmean(outcome.dice):.4f}, {outcome.spent / 1e9:.2f} GMAC", flush=True)
    results = {"bundle": options.bundle, "cases": [case["name"] for case in cases], "rows": rows}
    write_json(RESULTS, results)
    write_marked(PAGE, "cohort budget", _table(results))


@dataclass(frozen=True)
class _Outcome:
    """By study, Dice and multiply-accumulates."""

    dice: list[float]
    operations: list[float]

    @property
    def spent(self) -> float:
        return sum(self.operations)

    def towards(self, other: _Outcome, part: float) -> _Outcome:
        """A part of the way to another outcome."""
        mix = [
            [(1 - part) * a + part * b for a, b in zip(one, two, strict=True)]
            for one, two in ((self.dice, other.dice), (self.operations, other.operations))
        ]
        return _Outcome(*mix)


class _Cohort:
    """The studies, segmented with one budget or with many."""

    def __init__(self, bundle: str, cases: list[dict[str, Any]], classes: int, folder: Path) -> None:
        self._bundle, self._cases, self._classes, self._folder = bundle, cases, classes, folder
        self._studies = [CohortStudy(str(case["name"]), image=Path(case["image"])) for case in cases]

    def each(self, share: float) -> _Outcome:
        """Every study with a share of its own full pass."""
        run = StudySegmenter(UnitSettings(self._bundle, {"device": "cpu", "operations": share}, threads=1))
        records = [run(study, self._folder / f"each {share}") for study in self._studies]
        return self._outcome(records, [0] * len(records))

    def each_spending(self, spent: float) -> _Outcome:
        """The same share for every study, so that all together spend so much."""
        below, above = 0.0, 1.0
        less, more = self.each(below), self.each(above)
        while above - below > SHARES_APART:
            middle = (below + above) / 2
            found = self.each(middle)
            if found.spent <= spent:
                below, less = middle, found
            else:
                above, more = middle, found
        return less.towards(more, (spent - less.spent) / (more.spent - less.spent))

    def together(self, share: float) -> _Outcome:
        """One budget, a share of all full passes, spent where most is expected."""
        run, output = (
            StudySegmenter(UnitSettings(self._bundle, {"device": "cpu"}, threads=1)),
            self._folder / f"{share}",
        )
        surveys = {study.name: run.survey(study, output) for study in self._studies}
        shares = shares_of(surveys, share)
        records = [run(study, output, shares[study.name]) for study in self._studies]
        # The coarse pass and its scores were paid before.
        return self._outcome(records, [sum(one.paid for one in surveys[study.name]) for study in self._studies])

    def _outcome(self, records: list[Any], paid: list[int]) -> _Outcome:
        dice = [_dice(case, record, self._classes) for case, record in zip(self._cases, records, strict=True)]
        return _Outcome(dice, [float(record.operations + p) for record, p in zip(records, paid, strict=True)])


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
