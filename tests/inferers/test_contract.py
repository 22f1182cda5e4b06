"""The contract of MONAI's sliding window beyond its answer: attributes, arguments, numbers, sizes, gradients, budgets."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from torch import Tensor, nn

from monai_dis.errors import ImageError, LevelError
from monai_dis.inferers import Budget, DropInInferer, IterativeInferer, Level, iterative_inference
from monai_dis.testing.networks import FixedConv

OURS = [IterativeInferer, DropInInferer]
# name: (value to give, value to set later)
ATTRIBUTES: dict[str, tuple[Any, Any]] = {
    "roi_size": ((16, 16), (8, 12)),
    "sw_batch_size": (4, 2),
    "overlap": (0.5, 0.625),
    "mode": ("gaussian", "constant"),
    "sigma_scale": (0.2, 0.1),
    "padding_mode": ("reflect", "replicate"),
    "cval": (1.0, 2.0),
    "sw_device": (torch.device("cpu"), "cpu"),
    "device": (torch.device("cpu"), "cpu"),
    "progress": (False, True),
    "cpu_thresh": (10**6, 5),
    "buffer_steps": (None, 2),
    "buffer_dim": (-1, 0),
    "with_coord": (False, True),
    "roi_weight_map": (None, torch.ones(16, 16)),
}


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_those_of_the_sliding_window(name: str, kind: type[IterativeInferer]) -> None:
    given = {n: v for n, (v, _) in ATTRIBUTES.items() if n != "roi_weight_map"}
    ours, theirs = kind(**given), SlidingWindowInferer(**given)
    value, other = ATTRIBUTES[name]

    assert getattr(ours, name) is value or getattr(ours, name) == getattr(theirs, name) == value
    setattr(ours, name, other)
    assert getattr(ours, name) is other or getattr(ours, name) == other
    assert getattr(ours.settings, name) is getattr(ours, name)


@pytest.mark.parametrize("kind", OURS)
def test_what_is_set_has_an_effect_and_is_checked(kind: type[IterativeInferer]) -> None:
    image, network = torch.randn(1, 1, 40, 40), FixedConv(2, 1, 2)
    inferer = kind(16, 4, 0.5)
    before = inferer.run(image, network).statistics.operations_sliding_window

    inferer.roi_size = (20, 20)
    inferer.mode = "gaussian"
    made = kind((20, 20), 4, 0.5, "gaussian")

    torch.testing.assert_close(inferer(image, network), made(image, network), rtol=0, atol=0)
    assert inferer.run(image, network).statistics.operations_sliding_window != before
    with pytest.raises(LevelError, match="overlap must be 0 or more and below 1"):
        inferer.overlap = 1.5
    assert inferer.overlap == 0.5


def test_positional_arguments_are_those_of_the_sliding_window() -> None:
    theirs = list(inspect.signature(SlidingWindowInferer.__init__).parameters)
    function = list(inspect.signature(sliding_window_inference).parameters)

    for kind in OURS:
        assert list(inspect.signature(kind.__init__).parameters)[: len(theirs)] == theirs
    wanted = function[: function.index("args") + 1]
    assert list(inspect.signature(iterative_inference).parameters)[: len(wanted)] == wanted


def test_all_positional_arguments_of_the_function_mean_the_same() -> None:
    image, network = torch.randn(1, 1, 30, 26), FixedConv(2, 1, 2)
    weights = torch.rand(12, 12) + 0.1

    def scaled(window: Tensor, places: Any, factor: float) -> Tensor:
        answer: Tensor = network(window) * factor
        return answer

    arguments = (
        (12, 12),
        3,
        scaled,
        0.5,
        "gaussian",
        0.125,
        "constant",
        0.0,
        None,
        None,
        False,
        weights,
        None,
        None,
        -1,
        True,
        3.0,
    )
    ours = iterative_inference(image, *arguments, levels=[2, 1])  # type: ignore[arg-type]
    with torch.no_grad():
        theirs = sliding_window_inference(image, *arguments)  # type: ignore[arg-type]

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", OURS)
def test_cached_weights_are_those_that_monai_keeps(kind: type[IterativeInferer]) -> None:
    arguments: dict[str, Any] = {"roi_size": (12, 16), "mode": "gaussian", "cache_roi_weight_map": True}

    torch.testing.assert_close(kind(**arguments).roi_weight_map, SlidingWindowInferer(**arguments).roi_weight_map)
    with pytest.warns(UserWarning, match="cache is not created"):
        assert kind(12, cache_roi_weight_map=True).roi_weight_map is None


@pytest.mark.parametrize("kind", OURS)
def test_the_device_of_one_call(kind: type[IterativeInferer]) -> None:
    answer = kind(16)(torch.randn(1, 1, 20, 20), FixedConv(2, 1, 2), device="cpu", buffer_steps=2, buffer_dim=0)

    assert answer.device.type == "cpu"


@pytest.mark.parametrize("kind", OURS)
def test_numbers_of_numpy(kind: type[IterativeInferer]) -> None:
    image, network = torch.randn(1, 1, 40, 30), FixedConv(2, 1, 2)
    numpy = kind(
        np.int64(16),
        np.int32(3),
        np.float32(0.5),
        "gaussian",
        np.float32(0.125),
        cval=np.float32(1),
        budget=Budget(operations=np.float32(0.75)),
    )  # type: ignore[arg-type]
    plain = kind(16, 3, 0.5, "gaussian", 0.125, cval=1.0, budget=Budget(operations=0.75))

    assert torch.equal(numpy(image, network), plain(image, network))
    sized = (
        kind(
            np.array([16, 12]).tolist(),
            levels=[np.float32(2), Level(np.int64(1), overlap=np.float64(0.5), halo=np.int64(2))],
        )
        if kind is IterativeInferer
        else None
    )  # type: ignore[call-arg]
    assert sized is None or sized(image, network).shape == (1, 2, 40, 30)


class Resized(nn.Module):
    """Answers with several outputs of several sizes, as networks with deep supervision or a finer output do."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.convolution, self.factors = FixedConv(2, 1, 2), factors

    def forward(self, x: Tensor) -> Any:
        answer = self.convolution(x)
        outputs = [
            answer
            if f == 1
            else F.avg_pool2d(answer, round(1 / f))
            if f < 1
            else answer.repeat_interleave(int(f), 2).repeat_interleave(int(f), 3)
            for f in self.factors
        ]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


LEVELS = {
    "one pass": [Level(2), Level(1)],
    "windows": [Level(2, roi_size=16), Level(1)],
    "average": [Level(1, roi_size=16, overlap=0), Level(1, merge="average")],
}


# MONAI takes the weights of a third size from those of the second, so that weights that are equal are compared there.
@pytest.mark.parametrize(
    ("factors", "mode"),
    [
        ((0.5,), "gaussian"),
        ((2,), "gaussian"),
        ((1, 0.5), "gaussian"),
        ((1, 0.5, 0.25), "constant"),
        ((1, 2), "constant"),
    ],
)
@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_outputs_of_other_sizes_are_put_together_as_in_monai(
    levels: list[Level], factors: tuple[float, ...], mode: str
) -> None:
    image, network = torch.randn(2, 1, 64, 48), Resized(*factors)
    with torch.no_grad():
        ours = IterativeInferer(16, 3, 0.5, mode, levels=levels)(image, network)
        theirs = SlidingWindowInferer(16, 3, 0.5, mode)(image, network)
    if isinstance(theirs, Tensor):
        ours, theirs = (ours,), (theirs,)

    for own, their in zip(ours, theirs, strict=True):
        assert own.shape == their.shape
        torch.testing.assert_close(own, their, rtol=1e-4, atol=1e-4)


def test_the_order_of_outputs_of_several_sizes_does_not_matter() -> None:
    """MONAI's sliding window raises where the smaller output comes first, and so does a level 0 in windows, which is one."""
    image = torch.randn(1, 1, 64, 48)
    inferer = IterativeInferer(16, 3, 0.5, "gaussian", levels=LEVELS["one pass"])

    small, large = inferer(image, Resized(0.5, 1))
    first, second = inferer(image, Resized(1, 0.5))

    torch.testing.assert_close((large, small), (first, second), rtol=1e-6, atol=1e-6)


def test_windows_are_processed_before_their_size_is_looked_at() -> None:
    """As HoVer-Net's are: the network answers for the middle of a window, and a function puts it back into place."""
    network = nn.Conv2d(1, 2, 5).requires_grad_(False)  # 16 in, 12 out
    image = torch.randn(1, 1, 40, 32)

    def padded(outputs: tuple[Tensor, ...], windows: Tensor, weights: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        inner = F.pad(torch.ones(12, 12), (2, 2, 2, 2), value=1e-3)
        return tuple(F.pad(o, (2, 2, 2, 2)) for o in outputs), weights * inner

    arguments = ((16, 16), 3, network, 0.5)
    ours = iterative_inference(image, *arguments, process_fn=padded, levels=[Level(1, roi_size=16), Level(1)])
    with torch.no_grad():
        theirs = sliding_window_inference(image, *arguments, process_fn=padded)

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("allowed", [True, False])
def test_gradients_are_recorded_where_the_caller_has_not_switched_them_off(
    kind: type[IterativeInferer], allowed: bool
) -> None:
    network, image = nn.Conv2d(1, 2, 3, padding=1), torch.randn(1, 1, 40, 30)
    with torch.set_grad_enabled(allowed):
        answer = kind(16, 4, 0.5)(image, network)

    assert answer.requires_grad is allowed
    if allowed:
        answer.square().mean().backward()
        assert network.weight.grad is not None and float(network.weight.grad.abs().sum()) > 0


def test_gradients_everywhere_are_those_of_the_sliding_window() -> None:
    image, gradients = torch.randn(1, 1, 40, 30), []
    for run in (SlidingWindowInferer(16, 4, 0.5), IterativeInferer(16, 4, 0.5, levels=[2, Level(1, merge="replace")])):
        torch.manual_seed(0)
        network = nn.Conv2d(1, 2, 3, padding=1)
        run(image, network).square().mean().backward()
        gradients.append(network.weight.grad)

    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", OURS)
def test_four_spatial_axes_are_refused_by_name(kind: type[IterativeInferer]) -> None:
    with pytest.raises(ImageError, match="one to three spatial axes"):
        kind(8)(torch.randn(1, 1, 8, 8, 8, 8), FixedConv(3, 1, 2))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(("shape", "roi"), [((1, 1, 220, 180), 32), ((1, 1, 60, 52, 44), 16)])
def test_the_default_costs_less_than_what_the_caller_paid(shape: tuple[int, ...], roi: int, overlap: float) -> None:
    image, network = torch.randn(shape), FixedConv(len(shape) - 2, 1, 2)
    theirs: list[int] = []
    network.register_forward_hook(lambda module, inputs, output: theirs.append(inputs[0].numel()))
    with torch.no_grad():
        SlidingWindowInferer(roi, 4, overlap)(image, network)
        paid = sum(theirs)
        theirs.clear()
        statistics = DropInInferer(roi, 4, overlap).run(image, network).statistics

    assert sum(theirs) <= 0.8 * paid
    assert statistics.fraction_of_callers_window == pytest.approx(sum(theirs) / paid, rel=0.02)
    assert statistics.fraction_of_sliding_window <= 0.3


def test_a_budget_that_is_given_is_kept_whatever_the_overlap() -> None:
    image, network = torch.randn(1, 1, 220, 180), FixedConv(2, 1, 2)

    share = DropInInferer(32, 4, 0.25).with_budget(Budget(sliding_window=0.3)).run(image, network).statistics

    assert 0.2 < share.fraction_of_sliding_window <= 0.3
