"""The score ``"gain"``: the network's scorer decides which windows are refined, and is paid from the budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.errors import NetworkError
from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.networks import GainNet, TwoStageNet
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, budgets, cases


class FirstChannel(nn.Module):
    """Expects to gain where the image's first channel is bright."""

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        return image[:, :1]


class ConvScorer(nn.Module):
    """A scorer that costs something."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.conv = FixedConv(dims, channels, 1)

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        return self.conv(torch.cat([image, logits], 1)).sigmoid()


def pair(case: Case, scorer: nn.Module | list[nn.Module] | None) -> TwoStageNet:
    channels = case.image.shape[1]
    coarse, refine = (FixedConv(case.dims, channels, case.classes, seed=seed) for seed in (0, 1))
    return TwoStageNet(coarse, refine, scorer=scorer).eval()


def test_the_brightest_window_is_chosen_first() -> None:
    #        window 0: 0, window 1: 4 bright pixels, window 2: 1, window 3: 2
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, :2, 6:] = 1.0
    image[0, 0, 6, 1] = 1.0
    image[0, 0, 6:, 6] = 1.0
    network = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1), scorer=FirstChannel())
    inferer = IterativeInferer(4, overlap=0, levels=[1, 1], score="gain", budget=Budget(windows=3))

    windows = inferer.run(image, network).windows

    assert [(w.corner, w.score) for w in windows] == [((0, 4), 4 / 16), ((4, 4), 2 / 16), ((4, 0), 1 / 16)]


def test_each_level_has_its_scorer() -> None:
    class LastRow(nn.Module):
        def forward(self, image: Tensor, logits: Tensor) -> Tensor:
            gain = torch.zeros_like(image[:, :1])
            gain[:, :, -1] = 1.0
            return gain

    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 0, 0] = 1.0
    network = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1), scorer=[FirstChannel(), LastRow()])
    levels = [Level(2), Level(2, budget={"windows": 1}), Level(1, budget={"windows": 1})]
    inferer = IterativeInferer(4, overlap=0, levels=levels, score="gain")

    first, second = inferer.run(image, network).windows

    assert (first.level, first.corner) == (1, (0, 0))
    assert (second.level, second.corner) == (2, (12, 0))


@given(case=cases(), budget=budgets(), levels=st.sampled_from([[4, 1], [8, 2, 1]]))
def test_the_scorer_is_counted_and_paid_from_the_budget(case: Case, budget: Budget, levels: list[float]) -> None:
    network = pair(case, ConvScorer(case.dims, case.image.shape[1] + case.classes))
    inferer = IterativeInferer(**{**case.windowing, "levels": levels}, score="gain", budget=budget)

    with FlopCounterMode(display=False) as counter:
        result = inferer.run(case.image, network)
    statistics = result.statistics

    assert statistics.operations == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
    if budget.operations is not None:
        coarse = statistics.operations_coarse
        assert statistics.operations <= max(coarse, budget.operations * statistics.operations_full_pass) * (1 + 1e-9)


@given(case=cases(), few=st.integers(0, 6), more=st.integers(0, 6))
def test_windows_of_a_smaller_budget_are_a_prefix(case: Case, few: int, more: int) -> None:
    network = pair(case, ConvScorer(case.dims, case.image.shape[1] + case.classes))

    def chosen(windows: int) -> list[list[tuple[int, ...]]]:
        inferer = IterativeInferer(**case.windowing, score="gain", budget=Budget(windows=windows))
        found = inferer.run(case.image, network).windows
        return [[w.grid_corner for w in found if w.image == image] for image in range(len(case.image))]

    for small, large in zip(chosen(few), chosen(few + more), strict=True):
        assert large[: len(small)] == small


def test_a_network_without_a_scorer_says_what_to_do() -> None:
    inferer = IterativeInferer(4, score="gain", budget=Budget(windows=1))
    with pytest.raises(NetworkError, match="has no scorer for it"):
        inferer(torch.zeros(1, 1, 8, 8), FixedConv(2, 1, 1))
    network = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1), scorer=[FirstChannel()])
    with pytest.raises(NetworkError, match="level 2 is scored by gain"):
        IterativeInferer(4, levels=[4, 2, 1], score="gain")(torch.zeros(1, 1, 8, 8), network)


def test_a_scorer_of_another_shape_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, logits: Tensor) -> Tensor:
            return torch.cat([image, image], 1)

    network = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1), scorer=Two())
    with pytest.raises(NetworkError, match=r"scorer of level 1 must return shape \(1, 1, 2, 2\), got \(1, 2, 2, 2\)"):
        IterativeInferer(4, score="gain")(torch.zeros(1, 1, 8, 8), network)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_gain_net_answers_for_any_size(dims: int) -> None:
    from monai.networks.nets import UNet

    size = (13, 9, 6)[:dims]
    net = GainNet(UNet(dims, 2 + 3, 3, (4, 8, 8), (2, 2)), channels=3, divisible=4).eval()

    gain = net(torch.randn(2, 2, *size), 20 * torch.randn(2, 3, *size))

    assert gain.shape == (2, 1, *size)
    assert bool((gain >= 0).all())
    with pytest.raises(NetworkError, match="built for 3 logit channels"):
        net(torch.randn(2, 2, *size), torch.randn(2, 1, *size))


def test_a_gain_net_learns_the_mean_of_what_is_realised() -> None:
    """Gains of 0 and 1 at random, one in four: the Poisson likelihood settles at their mean."""
    torch.manual_seed(0)
    net = GainNet(nn.Conv2d(2, 1, 1), channels=1)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    image, logits = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)
    realised = (torch.arange(1600) % 4 == 0).float().reshape(1, 1, 40, 40)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.poisson_nll_loss(net(image, logits), realised, log_input=False).backward()
        optimizer.step()

    assert float(net(image, logits).detach().mean()) == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize(("activation", "error"), [("sigmoid", 0.2 * 0.8 + 0.5 * 0.5), ("softmax", 2 * 0.2 * 0.8)])
def test_a_new_gain_net_expects_a_share_of_the_expected_error(activation: str, error: float) -> None:
    class Zeros(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x[:, :2])

    net = GainNet(Zeros(), channels=2, activation=activation, prior=0.5)
    logits = torch.tensor([-4.0, 0.0]).mul(torch.log(torch.tensor(4.0)) / 4).reshape(1, 2, 1, 1)

    assert float(net(torch.zeros(1, 1, 1, 1), logits)) == pytest.approx(0.5 * error)
    sure = torch.tensor([20.0, -20.0]).reshape(1, 2, 1, 1)
    assert 0 <= float(net(torch.zeros(1, 1, 1, 1), sure)) < 1e-6


def test_a_gain_net_refuses_an_unknown_activation() -> None:
    with pytest.raises(NetworkError, match="'softmax' or 'sigmoid'"):
        GainNet(nn.Identity(), channels=1, activation="tanh")
