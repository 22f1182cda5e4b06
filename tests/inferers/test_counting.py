"""Counting what a network costs: nothing of the caller's network is touched by it, and what cannot be counted obeys budgets too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_dis.inferers import Budget, DropInInferer, IterativeInferer
from monai_dis.inferers.operations import count_operations, preview
from monai_dis.testing.networks import FixedConv

BUDGET = Budget(operations=0.5)
IMAGE = torch.rand(1, 1, 48, 40, generator=torch.Generator().manual_seed(1))
PIXELS = 48 * 40


class Remembering(nn.Module):
    """Keeps what it makes at its first call, as networks with positional codes and grids do, and every call in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = FixedConv(2, 1, 2)
        self.grid: Tensor | None = None
        self.sizes: list[tuple[int, ...]] = []
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sizes.append(tuple(x.shape[2:]))
        if self.grid is None:
            self.grid = torch.arange(x.shape[-1]) * 0.01
        answer: Tensor = self.convolution(x) + self.grid.mean()
        return answer


def test_what_a_network_keeps_from_its_first_call_is_real() -> None:
    network = Remembering()
    inferer = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET)

    answer = inferer(IMAGE, network)

    assert type(answer) is Tensor and type(network.grid) is Tensor
    assert network.calls == len(network.sizes) and network.sizes[0] == (24, 20)
    assert set(network.sizes[1:]) == {(16, 16)}


def test_hooks_see_the_real_calls_alone() -> None:
    network, seen = FixedConv(2, 1, 2), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    inner = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    inner.register_forward_hook(lambda module, inputs, output: seen.append(output))

    result = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, network)

    assert result.statistics.operations > 0
    assert seen and all(type(x) is Tensor for x in seen)
    assert len(seen) == 2 * sum(result.statistics.calls[stage] for stage in ("coarse", "refine"))


def test_lazy_layers_are_made_by_the_real_image() -> None:
    network = nn.Sequential(nn.LazyConv2d(2, 3, padding=1))

    result = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, network)

    assert tuple(network[0].weight.shape) == (2, 1, 3, 3) and type(network[0].weight.data) is Tensor
    assert result.statistics.operations_full_pass == pytest.approx(PIXELS * 18)


@pytest.mark.parametrize(
    "normalised",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_normalised_weights_are_counted_and_left_alone(normalised: Callable[[nn.Module], nn.Module]) -> None:
    network = normalised(nn.Conv2d(1, 2, 3, padding=1))
    before = {name: value.clone() for name, value in network.state_dict().items()}

    assert count_operations(network, [torch.empty(1, 1, 10, 20)]) == 200 * 18
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def scripted(frozen: bool) -> nn.Module:
    module = torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)).eval())
    return torch.jit.freeze(module) if frozen else module


@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_obeys_a_budget(frozen: bool) -> None:
    statistics = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, scripted(frozen)).statistics

    assert statistics.operations_unit == "multiply-accumulates"
    assert statistics.operations_full_pass == pytest.approx(PIXELS * 18)
    assert 0.25 < statistics.fraction_of_full_pass <= 0.5


def test_a_callable_that_is_no_module_is_never_run_on_invented_data() -> None:
    network, given = FixedConv(2, 1, 2), []

    def call(x: Tensor) -> Tensor:
        given.append(x)
        answer: Tensor = network(x)
        return answer

    assert preview(call, [IMAGE]) is None and count_operations(call, [IMAGE]) is None
    statistics = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, call).statistics

    assert all(type(x) is Tensor and 0 < float(x.max()) <= 1 for x in given)
    assert len(given) == statistics.calls["coarse"] + statistics.calls["refine"]
    assert statistics.operations_unit == "multiply-accumulates"
    assert statistics.operations == 18 * (24 * 20 + statistics.windows_refined * 256)
    assert 0.25 < statistics.fraction_of_full_pass <= 0.5


def by_numpy(x: Tensor) -> Tensor:
    """Nothing that torch sees: as a session of another runtime."""
    values = x.numpy()
    return torch.from_numpy(np.concatenate([values - 0.5, 0.5 - values], 1))


@pytest.mark.parametrize(
    ("make", "share", "limit"),
    [
        (lambda: IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET), "fraction_of_full_pass", 0.5),
        (lambda: DropInInferer(12, 4), "fraction_of_sliding_window", 0.3),
    ],
)
def test_what_torch_cannot_count_is_paid_in_voxels(
    make: Callable[[], IterativeInferer], share: str, limit: float
) -> None:
    given: list[int] = []

    def call(x: Tensor) -> Tensor:
        given.append(x[:, 0].numel())
        return by_numpy(x)

    statistics = make().run(IMAGE, call).statistics

    assert statistics.operations_unit == "voxels"
    assert statistics.operations == sum(given)
    assert 0.5 * limit < getattr(statistics, share) <= limit


def test_one_network_that_cannot_be_counted_sets_the_unit_of_all() -> None:
    """A coarse network in multiply-accumulates beside a session in voxels would leave a budget nothing, or everything."""
    from monai_dis.networks import TwoStageNet

    class Session(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return by_numpy(x)

    network = TwoStageNet(FixedConv(2, 1, 2), Session())
    statistics = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, network).statistics

    assert statistics.operations_unit == "voxels"
    assert statistics.operations == 24 * 20 + 256 * statistics.windows_refined
    assert 0.25 < statistics.fraction_of_full_pass <= 0.5


def test_a_callable_that_needs_even_sizes_is_tried_with_the_image_itself() -> None:
    network: Any = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.ConvTranspose2d(2, 2, 2, stride=2))
    image = torch.rand(1, 1, 37, 41)

    answer = IterativeInferer(16, 4, coarse_scale=1)(image, lambda x: network(x))

    assert answer.shape == (1, 2, 37, 41)


def test_what_a_callable_says_of_the_image_is_what_the_caller_reads() -> None:
    def refuses(x: Tensor) -> Tensor:
        raise KeyError("no such modality")

    with pytest.raises(KeyError, match="no such modality"):
        IterativeInferer(16, 4, coarse_scale=2)(IMAGE, refuses)


def test_a_network_that_looks_at_values_is_counted_when_it_is_called() -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = FixedConv(2, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.convolution(x) * (2 if float(x.sum()) > 0 else 1)
            return answer

    statistics = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, Looking()).statistics

    assert statistics.operations_unit == "multiply-accumulates"
    assert statistics.operations == 18 * (24 * 20 + statistics.windows_refined * 256)
    assert 0.25 < statistics.fraction_of_full_pass <= 0.5


def test_a_network_of_another_runtime_costs_what_pytorchs_costs() -> None:
    from monai_dis.runtimes.module import RuntimeModule

    class Session:
        """Cannot be copied, as those of ONNX Runtime cannot."""

        def __call__(self, x: Tensor) -> Tensor:
            return by_numpy(x)

        def __deepcopy__(self, memo: dict[int, Any]) -> Session:
            raise TypeError("cannot pickle a session")

    network = RuntimeModule(FixedConv(2, 1, 2).eval(), Session(), "onnx").eval()
    result = IterativeInferer(16, 4, coarse_scale=2, budget=BUDGET).run(IMAGE, network)

    assert result.statistics.operations_unit == "multiply-accumulates"
    assert result.statistics.operations_full_pass == pytest.approx(PIXELS * 18)
    torch.testing.assert_close(result.mosaic.coarse[:, 0] + result.mosaic.coarse[:, 1], torch.zeros(1, 24, 20))
