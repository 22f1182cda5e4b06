"""The shipped weights on the shipped photograph, which no network saw."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_dis.bundle import load_bundle
from monai_dis.data import read_label
from monai_dis.engines.evaluate import Evaluation

EXAMPLES = Path(__file__).parents[2] / "examples"


def dice_at(budgets: list[float], folder: Path) -> dict[str, float]:
    bundle = load_bundle("fundus_vessels_dis")
    case = {"image": str(EXAMPLES / "chase_db1_02L.jpg"), "label": str(EXAMPLES / "chase_db1_02L_vessels.png")}
    parts = [bundle.part(key) for key in ("network", "inferer", "preprocessing", "postprocessing")]
    results = Evaluation(*parts, [case], folder, budgets=budgets, device="cpu").run()
    return {arm["name"]: arm["summary"]["dice"]["mean"] for arm in results["arms"]}


def test_the_example_has_a_label_of_its_size() -> None:
    label = read_label(EXAMPLES / "chase_db1_02L_vessels.png")
    assert tuple(label.shape) == (1, 999, 960)
    assert torch.unique(label).tolist() == [0, 1]


@pytest.mark.slow
def test_vessels_are_found_and_a_budget_pays(tmp_path: Path) -> None:
    dice = dice_at([0.05, 0.25, 1.0], tmp_path)
    assert dice["dis 0.25"] > 0.74
    assert dice["dis 1"] >= dice["dis 0.25"] - 0.002 >= dice["dis 0.05"] - 0.004
