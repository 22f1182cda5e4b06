"""The rivals of a score, on answers that a person can check."""

from __future__ import annotations

import pytest
import torch

from monai_dis.engines.rival_scorers import BoundaryScorer, BoxScorer, GivenScorer, RandomScorer
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import FixedConv

IMAGE = torch.zeros(1, 1, 6, 6)
#                     a disc of two by two in a corner, and one voxel
LABEL = torch.zeros(1, 1, 6, 6)
LABEL[..., 1:3, 1:3] = 1
LABEL[..., 4, 3] = 1
LOGITS = 20 * LABEL - 10


def two_classes(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(logits), logits], 1)


@pytest.mark.parametrize(("activation", "logits"), [("sigmoid", LOGITS), ("softmax", two_classes(LOGITS))])
def test_the_box_holds_the_foreground_and_no_more(activation: str, logits: torch.Tensor) -> None:
    box = BoxScorer(activation)(IMAGE, logits)

    want = torch.zeros(6, 6)
    want[1:5, 1:4] = 1
    assert torch.equal(box[0, 0], want)
    empty = BoxScorer()(IMAGE, -LOGITS.abs())
    assert not empty.any()


@pytest.mark.parametrize(("activation", "logits"), [("sigmoid", LOGITS), ("softmax", two_classes(LOGITS))])
def test_the_boundary_is_where_neighbours_differ(activation: str, logits: torch.Tensor) -> None:
    edge = BoundaryScorer(activation)(IMAGE, logits)[0, 0]

    assert edge[:4, :4].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert edge[:, 5].tolist() == [0] * 6 and edge[5].tolist() == [0, 0, 1, 1, 1, 0]
    whole = BoundaryScorer("sigmoid")(torch.zeros(1, 1, 9, 9), torch.full((1, 1, 9, 9), 5.0))
    assert not whole.any()


def test_random_windows_are_the_same_for_the_same_seed() -> None:
    logits = torch.zeros(1, 1, 32, 32)
    one, again, other = (RandomScorer(seed)(logits, logits) for seed in (1, 1, 2))

    assert torch.equal(one, again) and not torch.equal(one, other)
    on_foreground = RandomScorer(1, on_foreground=True)(IMAGE, LOGITS)
    assert bool((on_foreground[LABEL == 0] == 0).all()) and bool((on_foreground[LABEL == 1] > 0).all())


def test_a_given_map_decides() -> None:
    gain = torch.zeros(1, 1, 16, 16)
    gain[..., 9, 14] = 1.0
    gain[..., 1, 1] = -5.0
    network = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1), scorer=GivenScorer(gain))
    inferer = IterativeInferer(8, overlap=0, coarse_scale=2, score="gain", budget=Budget(windows=1))

    (window,) = inferer.run(torch.rand(1, 1, 32, 32), network).windows

    assert window.corner == (16, 24)
