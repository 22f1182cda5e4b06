"""Stacking on answers of which it is known who is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_dis.engines import fit_stack
from monai_dis.engines.calibration import bin_middles, fit_logistic, histograms
from monai_dis.errors import DataError
from monai_dis.networks import StackedRefiner


def stacked(classes: int) -> StackedRefiner:
    return StackedRefiner(nn.Identity(), classes, conditioned=False)


def items(count: int) -> list[dict[str, Any]]:
    """Of class 0 the level below knows more, of class 1 the refined answer alone knows, of class 2 both err apart."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        label = (torch.rand(3, 40, 48, generator=generator) < 0.1).to(torch.uint8)
        noise = torch.randn(2, 3, 40, 48, generator=generator)
        signal = 4.0 * label - 2
        below, refined = signal + 2 * noise[0], signal + 2 * noise[1]
        refined[0], below[1] = 5 * noise[1, 0], 5 * noise[0, 1]
        fine = label.repeat_interleave(2, 1).repeat_interleave(2, 2)
        made.append({"name": str(index), "coarse": below, "refined": refined, "label": fine})
    return made


def test_each_class_gets_the_answers_that_order_it_best(tmp_path: Path) -> None:
    network = stacked(3)

    areas = fit_stack(network, items(3), tmp_path / "gate.pt")

    state = torch.load(tmp_path / "gate.pt", weights_only=True)
    assert torch.equal(state["bias"], network.bias)
    share = state["refined_weight"] / (state["refined_weight"] + state["below_weight"])
    assert share[0] < 0.15 and share[1] > 0.95 and 0.35 < share[2] < 0.6
    assert max(areas[2]) > max(areas[2][0], areas[2][-1]) + 0.02


def test_an_answer_that_adds_nothing_leaves_the_one_below_as_it_was(tmp_path: Path) -> None:
    same = [{**item, "refined": item["coarse"]} for item in items(1)]
    network = stacked(3)
    fit_stack(network, same, tmp_path / "gate.pt")
    below = torch.randn(1, 3, 4, 4)
    assert torch.equal(network.combine(below, torch.randn(1, 3, 4, 4)), below)


def test_a_logit_means_the_same_with_and_without_refinement(tmp_path: Path) -> None:
    cases = [{**item, "refined": 5 * item["refined"] + 3} for item in items(3)]
    network = stacked(3)
    fit_stack(network, cases, tmp_path / "gate.pt")

    values, fits = bin_middles(40.0), []
    for answer in ("coarse", "stacked"):
        counts = torch.zeros(3, 2, len(values), dtype=torch.float64)
        for case in cases:
            logits = (
                case["coarse"]
                if answer == "coarse"
                else network.combine(case["coarse"][None], case["refined"][None])[0]
            )
            counts += histograms(logits.clamp(-40, 40), case["label"], 40.0)
        fits.append([fit_logistic(values, *counts[index]) for index in range(3)])

    assert float(network.refined_weight[1]) > 0
    for below, together in zip(*fits, strict=True):
        assert together == pytest.approx(below, abs=0.05)


def test_a_class_that_is_nowhere_stays_as_it_was_below(tmp_path: Path) -> None:
    item = items(1)[0]
    item["label"][1] = 0
    network = stacked(3)
    fit_stack(network, [item], tmp_path / "gate.pt")
    assert (float(network.below_weight[1]), float(network.refined_weight[1]), float(network.bias[1])) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("classes", "cases", "message"),
    [(3, [], "no case to fit"), (2, items(1), "3 and 3 maps of logits and 3 masks, the network 2 classes")],
)
def test_what_does_not_fit_is_said(classes: int, cases: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        fit_stack(stacked(classes), cases, tmp_path / "gate.pt")
