"""The pair of stages, the residual refine network, and the gate around one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from torch import nn

from monai_dis.errors import NetworkError
from monai_dis.networks import (
    CalibratedLogits,
    FlipAveraged,
    GatedRefiner,
    ResidualRefiner,
    StackedRefiner,
    TwoStageNet,
    VoxelGate,
    warm_start,
)
from monai_dis.testing.networks import ConditioningNet, FixedConv


def small(dims: int, inputs: int, outputs: int) -> nn.Module:
    return BasicUNet(dims, inputs, outputs, (4, 4, 8, 8, 8, 4))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_new_refiner_returns_its_conditioning(dims: int) -> None:
    size = (32,) * dims
    network = ResidualRefiner(FixedConv(dims, 3 + 2, 2), channels=2)
    conditioning = 50 * torch.randn(2, 2, *size)

    assert torch.equal(network(torch.randn(2, 3, *size), conditioning), conditioning)


def test_the_head_learns_although_it_starts_at_zero() -> None:
    network = ResidualRefiner(small(2, 2, 1), channels=1)
    window, conditioning = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    for _ in range(2):
        optimizer.zero_grad()
        (network(window, conditioning) - 1).square().mean().backward()
        optimizer.step()

    assert float(network.head.weight.detach().abs().max()) > 0
    assert all(
        p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.backbone.parameters() if p.ndim > 1
    )


def test_the_backbone_sees_clipped_logits_and_the_sum_takes_them_whole() -> None:
    seen: list[torch.Tensor] = []

    class Backbone(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x[:, :1]

    network = ResidualRefiner(Backbone(), channels=1, clip=4.0, spatial_dims=2)
    conditioning = torch.tensor([-100.0, -2.0, 2.0, 100.0]).reshape(1, 1, 2, 2)

    answer = network(torch.full((1, 1, 2, 2), 7.0), conditioning)

    assert seen[0][0, 1].reshape(-1).tolist() == [-1.0, -0.5, 0.5, 1.0]
    assert torch.equal(answer, conditioning)


def test_a_backbone_with_more_features_and_one_with_several_outputs() -> None:
    window, conditioning = torch.randn(1, 1, 32, 32), torch.randn(1, 3, 32, 32)

    wide = ResidualRefiner(small(2, 4, 5), channels=3, features=5)
    assert torch.equal(wide(window, conditioning), conditioning)
    deep = ResidualRefiner(BasicUNetPlusPlus(2, 4, 3, (4, 4, 8, 8, 8, 4), deep_supervision=True), channels=3)
    assert torch.equal(deep(window, conditioning), conditioning)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": 0}, "channels must be 1 or more"),
        ({"channels": 1, "clip": 0.0}, "clip must be above 0"),
        ({"channels": 1, "spatial_dims": 4}, "spatial_dims must be 1, 2 or 3"),
    ],
)
def test_a_refiner_refuses_what_it_cannot_be(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        ResidualRefiner(small(2, 2, 1), **arguments)  # type: ignore[arg-type]


def test_dimensions_must_be_given_for_a_backbone_without_convolutions() -> None:
    with pytest.raises(NetworkError, match="give spatial_dims"):
        ResidualRefiner(nn.Identity(), channels=1)


def test_conditioning_of_another_number_of_classes_is_refused() -> None:
    network = ResidualRefiner(small(2, 3, 2), channels=2)

    with pytest.raises(NetworkError, match="built for 2 conditioning channels, the coarse network gives 3"):
        network(torch.randn(1, 1, 32, 32), torch.randn(1, 3, 32, 32))


def test_forward_is_the_refine_network_on_the_window_itself() -> None:
    coarse, refine = FixedConv(2, 3, 2, seed=1), FixedConv(2, 3, 2, seed=2)
    x = torch.randn(1, 3, 32, 32)

    assert torch.equal(TwoStageNet(coarse, refine)(x), refine(x))
    conditioned = TwoStageNet(coarse, ResidualRefiner(small(2, 5, 2), channels=2), "logits").eval()
    assert torch.equal(conditioned(x), coarse(x))


def test_state_dict_keys_are_those_of_the_stages() -> None:
    one = TwoStageNet(FixedConv(2, 1, 1), FixedConv(2, 1, 1))
    two = TwoStageNet(FixedConv(2, 1, 1), [FixedConv(2, 1, 1), FixedConv(2, 1, 1)])

    assert set(one.state_dict()) == {"coarse.conv.weight", "coarse.conv.bias", "refine.conv.weight", "refine.conv.bias"}
    assert "refine.1.conv.weight" in two.state_dict()


def test_refiners_are_found_by_index_or_shared() -> None:
    a, b = FixedConv(2, 1, 1), FixedConv(2, 1, 1)
    pair = TwoStageNet(a, [a, b])

    assert pair.refiner(0) is a
    assert pair.refiner(1) is b
    assert TwoStageNet(a, b).refiner(5) is b
    with pytest.raises(NetworkError, match="there are 2 refine networks, but sparse level 2"):
        pair.refiner(2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"conditioning": "features"}, "conditioning must be one of none, logits"),
        ({"refine": []}, "one network at least"),
    ],
)
def test_a_pair_refuses_what_it_cannot_be(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        TwoStageNet(**{"coarse": FixedConv(2, 1, 1), "refine": FixedConv(2, 1, 1), **arguments})  # type: ignore[arg-type]


# GatedRefiner


@given(data=st.data(), dims=st.integers(1, 3), classes=st.integers(1, 3))
def test_a_gate_keeps_an_answer_that_is_the_same(data: st.DataObject, dims: int, classes: int) -> None:
    size = data.draw(st.tuples(*[st.integers(1, 9)] * dims))
    gated = GatedRefiner(ConditioningNet(), VoxelGate(classes, spatial_dims=dims))
    for parameter in gated.gate.parameters():
        nn.init.normal_(parameter)
    below = 10 * torch.randn(2, classes, *size)

    assert torch.equal(gated(torch.randn(2, 1, *size), below), below)


@pytest.mark.parametrize(("bias", "want"), [(-200.0, 1.0), (0.0, 2.0), (200.0, 3.0)])
def test_a_gate_goes_from_one_answer_to_the_other(bias: float, want: float) -> None:
    gate = VoxelGate(1)
    nn.init.constant_(gate[-1].bias, bias)  # type: ignore[arg-type]
    gated = GatedRefiner(ConditioningNet(), gate)

    assert gated.combine(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)).unique().tolist() == [want]


def test_a_gate_trains_alone() -> None:
    refine = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.BatchNorm2d(1))
    gated = GatedRefiner(refine, VoxelGate(1), conditioned=False).train()
    before = {key: value.clone() for key, value in refine.state_dict().items()}
    below, truth = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    optimizer = torch.optim.SGD([p for p in gated.parameters() if p.requires_grad], 0.1)

    nn.functional.binary_cross_entropy_with_logits(gated(torch.rand(1, 3, 8, 8), below), truth).backward()
    optimizer.step()

    assert gated.gate.training and not refine.training
    assert all(torch.equal(value, before[key]) for key, value in refine.state_dict().items())
    assert any(p.grad is not None and bool(p.grad.any()) for p in gated.gate.parameters())


@pytest.mark.parametrize("bad", [{"channels": 0}, {"hidden": 0}, {"clip": 0.0}, {"spatial_dims": 4}])
def test_a_gate_refuses_nonsense(bad: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        VoxelGate(**{"channels": 1, **bad})


# StackedRefiner


def test_a_new_stack_lets_the_refined_answer_stand() -> None:
    stacked = StackedRefiner(ConditioningNet(), 2)
    window, below = torch.randn(1, 1, 5, 4), torch.randn(1, 2, 5, 4)
    assert torch.equal(stacked(window, below), ConditioningNet()(window, below))


def test_a_stack_weighs_each_class_and_can_leave_one_as_it_was() -> None:
    stacked = StackedRefiner(FixedConv(2, 1, 3), 3, conditioned=False).train()
    numbers = {"below_weight": [1.0, 0.5, 0.0], "refined_weight": [0.0, 0.25, 2.0], "bias": [0.0, -1.0, 3.0]}
    stacked.load_state_dict({key: torch.tensor(value) for key, value in numbers.items()}, strict=False)
    below, refined = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)

    answer = stacked.combine(below, refined)

    assert torch.equal(answer[:, 0], below[:, 0])
    torch.testing.assert_close(answer[:, 1], 0.5 * below[:, 1] + 0.25 * refined[:, 1] - 1)
    torch.testing.assert_close(answer[:, 2], 2 * refined[:, 2] + 3)
    assert not stacked.refine.training


def test_a_stack_refuses_no_classes() -> None:
    with pytest.raises(NetworkError):
        StackedRefiner(ConditioningNet(), 0)


# CalibratedLogits


@given(data=st.data(), dims=st.integers(1, 3), bound=st.floats(0.5, 20))
def test_bounded_logits_keep_sign_and_order(data: st.DataObject, dims: int, bound: float) -> None:
    size = data.draw(st.tuples(*[st.integers(1, 9)] * dims))
    logits = 3 * bound * torch.randn(2, 3, *size)

    bounded = CalibratedLogits(nn.Identity(), 3, bound)(logits)

    assert bool((bounded.abs() <= bound).all())
    assert torch.equal(bounded > 0, logits > 0)
    order = logits.flatten().argsort()
    assert bool((bounded.flatten()[order].diff() >= 0).all())
    small = logits.abs() < 0.1 * bound
    torch.testing.assert_close(bounded[small], logits[small], rtol=0.004, atol=0)


def test_each_class_has_its_own_scale_and_bias() -> None:
    class Deep(nn.Module):
        def forward(self, x: torch.Tensor, factor: float) -> list[torch.Tensor]:
            return [factor * x, x]

    network = CalibratedLogits(Deep(), 2, bound=4.0)
    network.load_state_dict({"scale": torch.tensor([0.5, 2.0]), "bias": torch.tensor([1.0, -1.0])})

    answer = network(torch.full((1, 2, 2, 2), 500.0), factor=-1.0)

    assert answer[0, :, 0, 0].tolist() == [-1.0, -9.0]


@pytest.mark.parametrize("bad", [{"bound": 0.0}, {"channels": 0}])
def test_calibration_refuses_nonsense(bad: dict[str, Any]) -> None:
    with pytest.raises(NetworkError, match="must be above 0"):
        CalibratedLogits(nn.Identity(), **{"channels": 1, **bad})


# warm_start


def test_a_refiner_starts_from_the_weights_of_the_coarse_stage(tmp_path: Path) -> None:
    coarse = FixedConv(2, 3, 2, seed=5)
    torch.save(coarse.state_dict(), tmp_path / "coarse.pt")
    refiner = ResidualRefiner(FixedConv(2, 3, 2), channels=2)

    warm_start(refiner, "backbone", tmp_path / "coarse.pt")

    x = torch.randn(1, 3, 9, 9)
    assert torch.equal(refiner.backbone(x), coarse(x))
    whole = warm_start(FixedConv(2, 3, 2), "", tmp_path / "coarse.pt")
    assert torch.equal(whole(x), coarse(x))


@pytest.mark.parametrize(("part", "words"), [("nowhere", "nowhere"), ("head", "does not fit head")])
def test_weights_of_another_network_are_refused(part: str, words: str, tmp_path: Path) -> None:
    torch.save(FixedConv(2, 3, 2).state_dict(), tmp_path / "coarse.pt")
    with pytest.raises(NetworkError, match=words):
        warm_start(ResidualRefiner(FixedConv(2, 5, 2), channels=2), part, tmp_path / "coarse.pt")


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_mean_over_flips_flips_with_the_image(dims: int) -> None:
    """Whatever the network, and whatever travels with the image; one pass for each combination of axes."""
    calls = 0

    class Uneven(nn.Module):
        def forward(self, x: torch.Tensor, extra: torch.Tensor, number: float) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return x * torch.arange(x.numel()).reshape(x.shape) + extra.cumsum(-1) * number

    network = FlipAveraged(Uneven(), axes=range(dims))
    x, extra = torch.rand(2, 1, *range(3, 3 + dims)), torch.rand(2, 1, *range(3, 3 + dims))
    answer = network(x, extra, 2.0)
    assert calls == 2**dims
    for axis in range(2, 2 + dims):
        torch.testing.assert_close(network(x.flip(axis), extra.flip(axis), 2.0).flip(axis), answer)
    torch.testing.assert_close(FlipAveraged(network.network, axes=[])(x, extra, 2.0), network.network(x, extra, 2.0))


def test_an_axis_is_flipped_once() -> None:
    with pytest.raises(NetworkError, match="named once each"):
        FlipAveraged(nn.Identity(), axes=[0, 0])
