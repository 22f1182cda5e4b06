"""Shares on answers of which it is known who is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_dis.engines import fit_shares
from monai_dis.errors import DataError
from monai_dis.networks import ClassGate, GatedRefiner, VoxelGate


def gated(classes: int) -> GatedRefiner:
    return GatedRefiner(nn.Identity(), ClassGate(classes), conditioned=False)


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


def test_each_class_gets_the_answer_that_orders_it_best(tmp_path: Path) -> None:
    network = gated(3)

    areas = fit_shares(network, items(3), tmp_path / "gate.pt")

    share = torch.load(tmp_path / "gate.pt", weights_only=True)["gate.share"].tolist()
    assert share[0] < 0.15 and share[1] > 0.95 and 0.35 < share[2] < 0.6
    assert torch.equal(network.gate.share, torch.tensor(share))  # type: ignore[arg-type]
    assert all(max(row) >= max(row[0], row[-1]) for row in areas)
    assert max(areas[2]) > max(areas[2][0], areas[2][-1]) + 0.02


def test_an_answer_that_adds_nothing_is_left_out(tmp_path: Path) -> None:
    same = [{**item, "refined": item["coarse"]} for item in items(1)]
    network = gated(3)
    fit_shares(network, same, tmp_path / "gate.pt")
    assert network.gate.share.tolist() == [0.0, 0.0, 0.0]


def test_a_class_that_is_nowhere_stays_as_it_was_below(tmp_path: Path) -> None:
    item = items(1)[0]
    item["label"][1] = 0
    network = gated(3)
    fit_shares(network, [item], tmp_path / "gate.pt")
    assert network.gate.share[1] == 0.0


@pytest.mark.parametrize(
    ("network", "cases", "message"),
    [
        (gated(3), [], "no case to fit"),
        (gated(2), items(1), "3 and 3 maps of logits and 3 masks, the gate 2 classes"),
        (GatedRefiner(nn.Identity(), VoxelGate(3), conditioned=False), items(1), "has a VoxelGate"),
    ],
)
def test_what_does_not_fit_is_said(network: GatedRefiner, cases: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        fit_shares(network, cases, tmp_path / "gate.pt")
