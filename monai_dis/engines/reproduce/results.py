"""The results: one row per arm, written as JSON, CSV and Markdown.

Dice is hard, per image, on the grid of the file, then averaged; distances are in pixels of the file; one operation is one
multiply-accumulate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.reproduce.experiment import Arm, Experiment
from monai_dis.engines.tables import write_csv, write_json

__all__ = ["Results", "Row", "summarise"]

_LABELS = {
    "coarse": "coarse at 1/{}",
    "dis": "DIS, N_p = {}",
    "random": "random windows, N_p = {}",
    "oracle": "oracle windows, N_p = {}",
    "baseline": "baseline at 1/{}",
}


@dataclass(frozen=True)
class Row:
    """One arm, averaged over the validation cases.

    Attributes:
        arm: name of the kind.
        number: ``N_p`` or scale.
        label: for people.
        dice: mean of the hard Dice per image.
        hd95_px: mean of the 95th percentile of the surface distance; over the images where the answer is not empty.
        surface_dice_2px: mean of the surface Dice at 2 pixels.
        windows: refined windows per image.
        windows_total: windows to choose from.
        operations: multiply-accumulates per image.
        fraction_of_full_pass: the same as a share of the baseline at full resolution.
        seconds: per image, networks and resampling; None where the choice could not be made in practice.
        share_of_oracle_gain: of what the best choice of as many windows gains in Dice on the coarse answer, the part that this one gains.
    """

    arm: str
    number: int
    label: str
    dice: float
    hd95_px: float | None
    surface_dice_2px: float | None
    windows: float
    windows_total: int
    operations: float
    fraction_of_full_pass: float
    seconds: float | None
    share_of_oracle_gain: float | None


@dataclass(frozen=True)
class Results:
    """What the experiment found.

    Attributes:
        experiment: its settings, in plain JSON types.
        training: epochs, steps and megapixels that each stage saw.
        cases: the names of the validation cases.
        rows: one per arm.
        per_case: one mapping per case and arm.
    """

    experiment: Mapping[str, Any]
    training: Mapping[str, Mapping[str, float]]
    cases: Sequence[str]
    rows: Sequence[Row]
    per_case: Sequence[Mapping[str, Any]]

    def row(self, kind: str, number: int) -> Row:
        """The row of an arm."""
        return next(row for row in self.rows if (row.arm, row.number) == (kind, number))

    def of_kind(self, kind: str) -> list[Row]:
        """The rows of a kind, by number."""
        return sorted((row for row in self.rows if row.arm == kind), key=lambda row: row.number)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "experiment": dict(self.experiment),
            "training": {name: dict(stage) for name, stage in self.training.items()},
            "cases": list(self.cases),
            "rows": [asdict(row) for row in self.rows],
            "per_case": [dict(entry) for entry in self.per_case],
        }

    def markdown(self) -> str:
        """A heading, what was trained, and one table."""
        about = self.experiment
        lines = [
            f"# The poster's experiment on {about['dataset']}",
            "",
            f"{len(self.cases)} validation cases that no network saw; images of {about['hi_size']} x {about['hi_size']} "
            f"pixels, measures on the grid of the files. {_effort(about)}",
            "",
            "| | Dice | HD95 (px) | surface Dice (2 px) | windows | operations (GMAC) | of a full pass | seconds | "
            "of the oracle's gain |",
            "|---|---|---|---|---|---|---|---|---|",
            *[_line(row) for row in self.rows],
            "",
            "Training: "
            + "; ".join(
                f"{name} {stage['epochs']:g} epochs, {stage['steps']:g} steps, {stage['megapixels']:.0f} megapixels"
                for name, stage in self.training.items()
            )
            + ".",
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``results.json``, ``results.csv``, ``results.md`` and ``cases.csv``."""
        write_json(folder / "results.json", self.to_dict())
        with atomic_path(folder / "results.md") as file:
            file.write_text(self.markdown(), encoding="utf-8")
        write_csv(folder / "results.csv", [asdict(row) for row in self.rows])
        write_csv(folder / "cases.csv", self.per_case)


def summarise(
    experiment: Experiment,
    training: Mapping[str, Mapping[str, float]],
    cases: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Results:
    """Average the measures of each arm over the cases.

    Args:
        experiment: the settings.
        training: what each stage was trained for.
        cases: for each case one entry per arm, as `monai_dis.engines.reproduce.evaluation.evaluate_case` makes them.
    """
    entries = [{"case": name, **entry} for name, measured in cases.items() for entry in measured]
    by_arm = {
        arm: [e for e in entries if (e["arm"], e["number"]) == (arm.kind, arm.number)] for arm in experiment.arms()
    }
    dice = {arm: fmean(e["dice"] for e in group) for arm, group in by_arm.items()}
    full = fmean(e["operations"] for e in by_arm[Arm("baseline", min(experiment.baseline_scales))])
    coarse = dice[Arm("coarse", experiment.coarse_scale)]
    rows = []
    for arm, group in by_arm.items():
        operations = fmean(e["operations"] for e in group)
        share = None
        if arm.refines and dice[Arm("oracle", arm.number)] > coarse:
            share = (dice[arm] - coarse) / (dice[Arm("oracle", arm.number)] - coarse)
        rows.append(
            Row(
                arm=arm.kind,
                number=arm.number,
                label=_LABELS[arm.kind].format(arm.number).replace("at 1/1", "at full resolution"),
                dice=dice[arm],
                hd95_px=_mean(group, "hd95_px"),
                surface_dice_2px=_mean(group, "surface_dice_2px"),
                windows=fmean(e["windows"] for e in group),
                windows_total=group[0]["windows_total"],
                operations=operations,
                fraction_of_full_pass=operations / full,
                seconds=_mean(group, "seconds"),
                share_of_oracle_gain=share,
            )
        )
    return Results(experiment.to_dict(), training, list(cases), rows, entries)


def _effort(about: Mapping[str, Any]) -> str:
    if about["train_cases"] is not None:
        return f"A quick run, a few steps on {about['train_cases']} cases: **the figures mean nothing**."
    if about["effort"] >= 1:
        return f"Trained for {about['effort']:g} times the poster's epochs."
    # With the poster's epochs all networks have the same steps; with less, the least numbers of steps decide.
    return (
        f"Trained for {about['effort']:g} of the poster's epochs, but for {about['least_steps']} steps times the scale at "
        "least: networks at low resolution had more steps, those at full resolution saw more pixels, and the latter may "
        "not have learned all they can."
    )


def _mean(entries: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [e[key] for e in entries if e[key] is not None and math.isfinite(e[key])]
    return fmean(values) if values else None


def _line(row: Row) -> str:
    windows = f"{row.windows:g} of {row.windows_total}" if row.windows_total else "-"
    cells = [
        row.label,
        f"{row.dice:.4f}",
        _number(row.hd95_px, ".1f"),
        _number(row.surface_dice_2px, ".3f"),
        windows,
        f"{row.operations / 1e9:.3f}",
        f"{row.fraction_of_full_pass:.1%}",
        _number(row.seconds, ".3f"),
        _number(row.share_of_oracle_gain, ".0%"),
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
