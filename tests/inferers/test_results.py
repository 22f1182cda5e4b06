"""What the inferer gives: outputs in the form of the network, geometry and types, labels, statistics, progress."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from recorder import Recorder
from torch import Tensor, nn

from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import ConditioningNet, FixedConv


class Two(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.a, self.b = FixedConv(2, 1, 2, seed=1), FixedConv(2, 1, 3, seed=2)

    def forward(self, x: Tensor) -> Any:
        a, b = self.a(x), self.b(x)
        return {"dict": {"a": a, "b": b}, "tuple": (a, b), "list": [a, b]}[self.form]


@pytest.mark.parametrize("form", ["dict", "tuple", "list"])
def test_several_outputs_are_merged_with_the_same_windows(form: str) -> None:
    image = torch.randn(1, 1, 30, 41)
    network = Two(form)
    inferer = IterativeInferer(8, 2, 0.5, budget=Budget(windows=6))

    result = inferer.run(image, network)
    got = result.outputs()

    first, second = got.values() if form == "dict" else got
    assert isinstance(got, dict if form == "dict" else tuple)
    torch.testing.assert_close(first, inferer(image, network.a))
    assert second.shape == (1, 3, 30, 41)
    # Where windows cover, far from their borders, the second output is its network's own.
    covered = result.mosaic.covered(1)
    assert torch.equal(covered, result.mosaics[1].covered(1))


def test_a_meta_tensor_comes_back_with_its_geometry() -> None:
    affine = torch.tensor([[0, 2.0, 0, 5], [-3.0, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    image = MetaTensor(torch.randn(1, 1, 30, 41), affine=affine, meta={"filename_or_obj": "a.png"})
    inferer = IterativeInferer(8, budget=Budget(windows=3))
    network = FixedConv(2, 1, 2)

    for got in (
        inferer(image, network),
        inferer.run(image, network).labels(),
        inferer.run(image, network).uncertainty(),
    ):
        assert isinstance(got, MetaTensor)
        torch.testing.assert_close(got.affine, affine)
        assert got.meta["filename_or_obj"] == "a.png"
    assert torch.equal(inferer(image, network).as_tensor(), inferer(image.as_tensor(), network))


def test_networks_see_plain_tensors() -> None:
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))

    IterativeInferer(8, budget=Budget(windows=1))(MetaTensor(torch.randn(1, 1, 16, 16)), network)

    assert not isinstance(network.coarse.seen[0][0], MetaTensor)
    assert not isinstance(network.refine.seen[0][0], MetaTensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_floating_types_survive(dtype: torch.dtype) -> None:
    image = torch.randn(1, 1, 30, 41).to(dtype)
    network = FixedConv(2, 1, 2).to(dtype)
    inferer = IterativeInferer(8, 2, 0.5, "gaussian", budget=Budget(windows=6))

    got = inferer(image, network)

    assert got.dtype == dtype
    want = inferer(image.float(), network.float())
    torch.testing.assert_close(got.float(), want, rtol=0.02, atol=0.1)


def test_an_integer_image_gives_float_logits() -> None:
    image = torch.randint(0, 255, (1, 1, 30, 41), dtype=torch.uint8)

    got = IterativeInferer(8, budget=Budget(windows=6))(image, FixedConv(2, 1, 2))

    assert got.dtype == torch.float32


def test_labels_and_uncertainty_are_those_of_the_logits() -> None:
    image = torch.randn(2, 1, 30, 41)
    for classes, activation in ((3, None), (1, None), (3, "sigmoid")):
        result = IterativeInferer(8, budget=Budget(windows=6), activation=activation).run(
            image, FixedConv(2, 1, classes)
        )
        logits = result.logits()
        exclusive = classes > 1 and activation is None
        want = logits.argmax(1, keepdim=True) if exclusive else (logits > 0)
        assert torch.equal(result.labels(), want.to(torch.uint8))
        assert result.uncertainty().shape == (2, 1, 30, 41)


def test_statistics_are_plain_json_and_consistent() -> None:
    image = MetaTensor(torch.randn(2, 1, 40, 41), affine=torch.diag(torch.tensor([0.5, 2.0, 1.0])))
    result = IterativeInferer(8, 4, 0.5, budget=Budget(windows=5)).run(image, FixedConv(2, 1, 2))

    result.logits()
    statistics = result.statistics
    plain = json.loads(json.dumps(statistics.to_dict()))

    assert plain["windows_refined"] == len(plain["windows"]) == 10
    assert plain["windows_total"] == 2 * 9 * 10
    assert plain["operations"] == statistics.operations
    assert set(plain["seconds"]) == set(plain["calls"]) == {"coarse", "score", "select", "gather", "refine", "merge"}
    assert plain["calls"]["coarse"] == 1
    assert plain["calls"]["refine"] == 3
    # One convolution of 1 to 2 channels and 3 x 3 weights: 18 operations per voxel.
    assert plain["operations_coarse"] == 2 * 10 * 11 * 18
    assert plain["operations"] == (2 * 10 * 11 + 10 * 64) * 18
    assert plain["operations_full_pass"] == pytest.approx(2 * 40 * 41 * 18)
    assert plain["operations_sliding_window"] == 2 * 9 * 10 * 64 * 18
    for share, area in zip(plain["uncertain_left"], plain["uncertain_left_mm"], strict=True):
        assert area == pytest.approx(share * 40 * 0.5 * 41 * 2.0)


def test_dice_says_how_much_refinement_changed() -> None:
    image = torch.randn(1, 1, 32, 32)
    same = TwoStageNet(FixedConv(2, 1, 3), ConditioningNet(), "logits")
    other = TwoStageNet(Recorder(1.0), Recorder(-1.0))
    nothing = TwoStageNet(Recorder(-1.0), Recorder(-1.0))

    assert IterativeInferer(8).run(image, same).statistics.dice_coarse_refined == (1.0,)
    assert IterativeInferer(8).run(image, other).statistics.dice_coarse_refined == (0.0,)
    assert IterativeInferer(8).run(image, nothing).statistics.dice_coarse_refined == (1.0,)
    # Half of the ground is taken away: 2 * 1/2 / (1 + 1/2).
    half = IterativeInferer(16, overlap=0, budget=Budget(windows=2), merge="replace").run(image, other)
    assert half.statistics.dice_coarse_refined == pytest.approx((2 / 3,))


def test_what_stays_uncertain_is_what_no_window_covered() -> None:
    image = torch.randn(1, 1, 32, 32)
    network = TwoStageNet(Recorder(0.0), Recorder(20.0))
    inferer = IterativeInferer(16, overlap=0, budget=Budget(windows=1), merge="replace", coarse_scale=2)

    (left,) = inferer.run(image, network).statistics.uncertain_left

    assert left == 0.75


def test_windows_added_later_show_in_the_composed_answer() -> None:
    image = torch.randn(1, 1, 32, 32)
    result = IterativeInferer(8, budget=Budget(windows=0), merge="replace").run(image, FixedConv(2, 1, 2))
    before = result.logits()

    result.mosaic.add_windows(1, [0], [(4, 20)], torch.full((1, 2, 8, 8), 7.0))

    after = result.logits()
    assert bool((after[..., 4:12, 20:28] == 7).all())
    after[..., 4:12, 20:28] = before[..., 4:12, 20:28]
    assert torch.equal(after, before)


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    IterativeInferer(8, progress=True, budget=Budget(windows=3))(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))
    assert "level 1" in capsys.readouterr().err

    IterativeInferer(8, budget=Budget(windows=3))(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))
    assert capsys.readouterr().err == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_accelerator_gives_the_same_answer() -> None:
    image, network = torch.randn(2, 1, 60, 71), FixedConv(2, 1, 3)
    inferer = IterativeInferer(16, 3, 0.5, "gaussian", levels=[4, 2, 1], budget=Budget(windows=6))
    want = inferer(image, network)

    network.cuda()
    torch.testing.assert_close(inferer(image.cuda(), network).cpu(), want, rtol=1e-4, atol=1e-4)
    mixed = IterativeInferer(
        16, 3, 0.5, "gaussian", sw_device="cuda", device="cpu", levels=[4, 2, 1], budget=Budget(windows=6)
    )(image, network)
    assert mixed.device.type == "cpu"
    torch.testing.assert_close(mixed, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "activation"), [(1, None), (3, None), (3, "sigmoid")])
def test_labels_in_place_of_logits(channels: int, activation: str | None) -> None:
    network = TwoStageNet(FixedConv(2, 1, channels), FixedConv(2, 1, channels, seed=1))
    inferer = IterativeInferer(8, 1, 0.25, levels=[4, 2], budget=Budget(windows=3), activation=activation)
    image = MetaTensor(torch.randn(1, 1, 40, 36), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))

    labels = inferer.replaced(output="labels")(image, network)

    logits = inferer(image, network)
    want = logits.argmax(1, keepdim=True) if channels == 3 and activation is None else logits > 0
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.as_tensor(), want.as_tensor().to(torch.uint8))
    assert len(labels.unique()) > 1
    assert torch.equal(labels.affine, image.affine)
