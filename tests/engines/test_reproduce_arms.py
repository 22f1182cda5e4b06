"""The ways to segment that the experiment compares, with networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.engines.reproduce.arms import Networks, answer_all, refine_everywhere, window_gains
from monai_dis.engines.reproduce.experiment import Arm, Experiment
from monai_dis.inferers.windows import window_grid

SIDE = 64
EXPERIMENT = Experiment(dataset="ph2", hi_size=SIDE, divisors=(2, 4), baseline_scales=(1, 2), coarse_scale=4, seed=3)


class Reader(nn.Module):
    """Answers with a channel of its input, by a convolution, so that it costs something."""

    def __init__(self, channel: int, sign: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1, bias=False)
        self.conv.weight.data.zero_()
        self.conv.weight.data[0, channel, 1, 1] = sign

    def forward(self, x):
        return self.conv(x)


@pytest.fixture
def case():
    """Channel 0 is the truth as logits, channel 1 noise."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    truth = ((rows - 20) ** 2 + (columns - 37) ** 2 < 15**2)[None, None]
    image = torch.stack(
        [truth[0, 0] * 8.0 - 4.0, torch.randn(SIDE, SIDE, generator=generator), torch.zeros(SIDE, SIDE)]
    )[None]
    return image, truth


def answers(image, truth, refine):
    networks = Networks(Reader(0), {2: refine, 4: refine}, {1: Reader(0), 2: Reader(0)})
    return {a.arm: a for a in answer_all(image, truth, networks, EXPERIMENT, "case")}


def errors(answer, truth):
    return int(((answer.logits > 0) != truth).sum())


def test_every_arm_answers(case):
    found = answers(*case, Reader(0))
    assert set(found) == set(EXPERIMENT.arms())
    for arm, answer in found.items():
        assert answer.logits.shape == (1, 1, SIDE, SIDE)
        assert len(answer.corners) == (arm.number if arm.refines else 0)
        assert answer.windows_total == (arm.number**2 if arm.refines else 0)
        assert (answer.seconds is None) == (arm.kind in ("random", "oracle"))


def test_gains_by_hand():
    """Four windows of two by two: the coarse answer is all foreground, the refined ones as the table says.

    =======  =================  =============  ======
    window   truth              refined        gain
    =======  =================  =============  ======
    0        none               none           4
    1        all                none           -4
    2        left column        left column    2
    3        all                all            0
    =======  =================  =============  ======
    """
    truth = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]]).bool()[None, None]
    refined = torch.tensor([[[-1, -1], [-1, -1]], [[-1, -1], [-1, -1]], [[1, -1], [1, -1]], [[1, 1], [1, 1]]])[
        :, None
    ].float()
    windows = window_grid((4, 4), (2, 2), 0.0)
    assert window_gains(torch.ones(1, 1, 4, 4), refined, truth, windows).tolist() == [4, -4, 2, 0]


def test_the_truth_refines_without_errors_where_the_oracle_looks(case):
    image, truth = case
    found = answers(image, truth, Reader(0))
    for number in (2, 4):
        ranked = [errors(found[Arm(kind, number)], truth) for kind in ("oracle", "dis", "random")]
        assert ranked[0] <= ranked[1] < errors(found[Arm("coarse", 4)], truth)
        assert ranked[0] <= ranked[2]


def test_the_oracle_is_best_for_a_network_that_spoils(case):
    image, truth = case
    found = answers(image, truth, Reader(1))
    for number in (2, 4):
        assert errors(found[Arm("oracle", number)], truth) <= min(
            errors(found[Arm("dis", number)], truth), errors(found[Arm("random", number)], truth)
        )


def test_dis_is_the_lowest_mean_distance_to_one_half(case):
    """The poster's rule, computed anew: N_p windows of the contiguous grid, replaced by the answer of the refine network."""
    image, truth = case
    found = answers(image, truth, Reader(1))
    coarse = found[Arm("coarse", 4)].logits
    for number in (2, 4):
        side = SIDE // number
        small = nn.functional.avg_pool2d(image[:, :1], 4).sigmoid()
        means = nn.functional.avg_pool2d(small, side // 4).flatten()
        chosen = (means - 0.5).abs().argsort(stable=True)[:number].tolist()
        expected = coarse.clone()
        for k in chosen:
            row, column = side * (k // number), side * (k % number)
            expected[..., row : row + side, column : column + side] = image[
                :, 1:2, row : row + side, column : column + side
            ]
        torch.testing.assert_close(found[Arm("dis", number)].logits, expected)


def test_random_windows_depend_on_seed_and_name_alone(case):
    image, truth = case
    networks = Networks(Reader(0), {4: Reader(0)}, {1: Reader(0)})
    first, again, other = (
        next(a for a in answer_all(image, truth, networks, EXPERIMENT, name) if a.arm == Arm("random", 4)).corners
        for name in ("case", "case", "another")
    )
    assert first == again != other
    assert len(set(first)) == 4


def test_operations_are_those_of_a_counter(case):
    image, truth = case
    refine = Reader(1)
    found = answers(image, truth, refine)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Reader(0)(image[..., ::4, ::4])
        refine(torch.zeros(4, 3, SIDE // 4, SIDE // 4))
    for kind in ("dis", "random", "oracle"):
        assert found[Arm(kind, 4)].operations == counter.get_total_flops() // 2


def test_all_windows_together_are_the_image(case):
    image, _ = case
    windows, refined = refine_everywhere(image, Reader(1), 4)
    whole = np.zeros((SIDE, SIDE), dtype=np.float32)
    for (row, column), logits in zip(windows.corners, refined.detach(), strict=True):
        whole[row : row + 16, column : column + 16] = logits[0].numpy()
    np.testing.assert_array_equal(whole, image[0, 1].numpy())
