"""The table, from measures that a person can average."""

from __future__ import annotations

import csv
import json

import pytest

from monai_dis.engines.reproduce.experiment import Experiment
from monai_dis.engines.reproduce.figures import draw_figures
from monai_dis.engines.reproduce.results import summarise

EXPERIMENT = Experiment(dataset="ph2", hi_size=64, divisors=(2, 4), baseline_scales=(1, 2), train_cases=3)
DICE = {"coarse": 0.5, "dis": 0.6, "random": 0.4, "oracle": 0.9, "baseline": 0.8}


def entry(arm, *, plus=0.0, hd95=2.0):
    total = arm.number**2 if arm.refines else 0
    return {
        "arm": arm.kind,
        "number": arm.number,
        "dice": DICE[arm.kind] + plus,
        "hd95_px": hd95,
        "surface_dice_2px": 0.5,
        "windows": arm.number if arm.refines else 0,
        "windows_total": total,
        "operations": 4000 // arm.number,
        "seconds": None if arm.kind in ("random", "oracle") else 0.25,
    }


@pytest.fixture
def results():
    cases = {
        "a": [entry(arm) for arm in EXPERIMENT.arms()],
        "b": [entry(arm, plus=0.1, hd95=None) for arm in EXPERIMENT.arms()],
    }
    return summarise(EXPERIMENT, {"coarse_8": {"epochs": 2, "steps": 6, "megapixels": 1.5}}, cases)


def test_means(results):
    assert results.row("coarse", 8).dice == pytest.approx(0.55)
    # A case without a distance (an empty answer) does not count for it.
    assert results.row("dis", 2).hd95_px == 2.0
    assert results.row("dis", 2).operations == 2000
    assert results.row("dis", 2).fraction_of_full_pass == 0.5
    assert results.row("random", 2).seconds is None


def test_share_of_the_oracles_gain(results):
    shares = {kind: results.row(kind, 4).share_of_oracle_gain for kind in ("dis", "random", "oracle")}
    assert shares == pytest.approx({"dis": 0.25, "random": -0.25, "oracle": 1.0})
    assert results.row("baseline", 1).share_of_oracle_gain is None


def test_an_oracle_without_gain_has_no_shares():
    cases = {"a": [{**entry(arm), "dice": 0.5} for arm in EXPERIMENT.arms()]}
    assert summarise(EXPERIMENT, {}, cases).row("dis", 2).share_of_oracle_gain is None


def test_files_agree(results, tmp_path):
    results.write(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    with (tmp_path / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["label"] for row in table] == [row["label"] for row in content["rows"]]
    assert [float(row["dice"]) for row in table] == [row["dice"] for row in content["rows"]]
    lines = (tmp_path / "results.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| DIS, N_p = 4"))
    assert row == "| DIS, N_p = 4 | 0.6500 | 2.0 | 0.500 | 4 of 16 | 0.000 | 25.0% | 0.250 | 25% |"
    assert "| baseline at full resolution | 0.8500 |" in "\n".join(lines)
    assert any("the figures mean nothing" in line for line in lines)
    with (tmp_path / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(EXPERIMENT.arms())


def test_figures_are_drawn_from_results(results, tmp_path):
    files = draw_figures(results, tmp_path)
    assert [file.name for file in files] == ["dice_vs_np.png", "dice_vs_operations.png"]
    assert all(file.stat().st_size > 10_000 for file in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in files)
