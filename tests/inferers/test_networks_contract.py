"""Every network in the list through the same tests: as coarse network, as refine network, and alone for both, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from monai.inferers import sliding_window_inference
from network_list import NETWORKS, NetworkCase
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.inferers import Budget, DropInInferer, IterativeInferer, Level
from monai_dis.inferers.grid import resample
from monai_dis.networks import ResidualRefiner, TwoStageNet
from monai_dis.testing.networks import FixedConv

CASES = [pytest.param(case, dims, id=f"{case.name}-{dims}d") for case in NETWORKS for dims in case.dims]
# Odd sizes, which most networks refuse; windows of the smallest size that all accept.
SIZES = {2: (71, 50), 3: (33, 40, 21)}
ROI = 32


def made(case: NetworkCase, dims: int) -> tuple[nn.Module, Tensor]:
    """The network, ready for use, and an image for it."""
    return case.make(dims, case.channels, 2).eval(), torch.randn(1, case.channels, *SIZES[dims])


def tensors(answer: Any) -> Sequence[Tensor]:
    return [answer] if isinstance(answer, Tensor) else list(answer)


class Answers(nn.Module):
    """A stage beside the one that is tested, which answers in as many tensors."""

    def __init__(self, dims: int, case: NetworkCase) -> None:
        super().__init__()
        self.conv, self.outputs = FixedConv(dims, case.channels, 2), case.outputs

    def forward(self, x: Tensor) -> Any:
        answer: Tensor = self.conv(x)
        return answer if self.outputs == 1 else [answer] * self.outputs


@pytest.mark.parametrize(("case", "dims"), CASES)
def test_as_coarse(case: NetworkCase, dims: int) -> None:
    """Padded to a size that it takes, cut again, and brought to the image's grid; a network of fixed size gets windows."""
    network, image = made(case, dims)
    pair = TwoStageNet(network, Answers(dims, case))
    grid = tuple(-(-n // 2) for n in image.shape[2:])

    dense = IterativeInferer(ROI, levels=[2, Level(1)], budget=Budget(windows=0))(image, pair)
    refined = IterativeInferer(ROI, 2, levels=[2, Level(1, merge="replace")])(image, pair)

    small = resample(image, grid)
    with torch.no_grad():
        if case.name == "unetr":
            answer: Any = sliding_window_inference(small, ROI, 1, network, 0.0)
        else:
            step = next(m for m in (1, 2, 4, 8, 16, 32, 64) if _keeps(network, small, m))
            missing = [-n % step for n in grid]
            padded = torch.nn.functional.pad(small, [p for m in reversed(missing) for p in (m // 2, m - m // 2)])
            inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, grid, strict=True))
            answer = [t[(slice(None), slice(None), *inside)] for t in tensors(network(padded))]
        want = [resample(t, image.shape[2:]) for t in tensors(answer)]
        windows = sliding_window_inference(image, ROI, 2, pair.refine.conv, 0.25)
    assert len(tensors(dense)) == case.outputs
    for got, one in zip(tensors(dense), want, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-4, atol=1e-5)
    for got in tensors(refined):
        torch.testing.assert_close(got, windows, rtol=1e-4, atol=1e-5)


def _keeps(network: nn.Module, small: Tensor, multiple: int) -> bool:
    size = [-(-n // multiple) * multiple for n in small.shape[2:]]
    try:
        return all(list(t.shape[2:]) == size for t in tensors(network(small.new_zeros(*small.shape[:2], *size))))
    except (AssertionError, RuntimeError, ValueError):
        return False


@pytest.mark.parametrize(("case", "dims"), CASES)
def test_as_refine(case: NetworkCase, dims: int) -> None:
    network, image = made(case, dims)
    pair = TwoStageNet(Answers(dims, case), network)

    everywhere = IterativeInferer(ROI, 2, 0.25, coarse_scale=4)(image, pair)
    some = IterativeInferer(ROI, 2, 0.25, levels=[4, Level(1, merge="replace")], budget=Budget(windows=1))
    result = some.run(image, pair)

    with torch.no_grad():
        want = sliding_window_inference(image, ROI, 2, network, 0.25)
        (window,) = result.windows
        place = tuple(slice(c, c + ROI) for c in window.grid_corner)
        if all(s.start >= 0 for s in place):
            alone = tensors(network(image[(slice(None), slice(None), *place)]))[0]
            got = result.logits()[(slice(None), slice(None), *place)]
            torch.testing.assert_close(got, alone, rtol=1e-4, atol=1e-5)
    assert len(tensors(want)) == len(tensors(everywhere)) == case.outputs
    for ours, theirs in zip(tensors(everywhere), tensors(want), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("case", "dims"), CASES)
def test_as_both(case: NetworkCase, dims: int) -> None:
    """The drop-in: one network, its operations counted and within the budget; all windows give the sliding window."""
    network, image = made(case, dims)

    inferer = DropInInferer(ROI, 2, 0.5, "gaussian", budget=Budget(sliding_window=0.6))
    with FlopCounterMode(display=False) as counter:
        result = inferer.run(image, network)

    assert all(t.shape == (1, 2, *SIZES[dims]) and bool(t.isfinite().all()) for t in tensors(result.outputs()))
    assert result.statistics.operations == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
    # Law 4: the budget is kept, unless the first pass alone, padded to a size that the network takes, costs more.
    assert not result.windows or result.statistics.fraction_of_sliding_window <= 0.6
    with torch.no_grad():
        want = sliding_window_inference(image, ROI, 2, network, 0.5, "gaussian")
    everywhere = inferer.with_budget(None)(image, network)
    for ours, theirs in zip(tensors(everywhere), tensors(want), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "dims"),
    [
        c
        for c in CASES
        if c.id and c.id.split("-")[0] in ("unet", "basic", "segresnet", "dynunet", "attention", "swin", "mednext")
    ],
)
def test_a_conditioned_pair_starts_at_the_coarse_answer(case: NetworkCase, dims: int) -> None:
    image = torch.randn(1, 1, *SIZES[dims])
    coarse = FixedConv(dims, 1, 2)
    pair = TwoStageNet(coarse, ResidualRefiner(case.make(dims, 3, 2), channels=2), "logits").eval()

    refined = IterativeInferer(ROI, levels=[4, 2, 1], budget=Budget(windows=2))(image, pair)
    first = IterativeInferer(ROI, levels=[4, 2, 1], budget=Budget(windows=0))(image, pair)

    torch.testing.assert_close(refined, first, rtol=1e-6, atol=1e-5)
    nn.init.normal_(pair.refine.head.weight)
    changed = IterativeInferer(ROI, levels=[4, 2, 1], budget=Budget(windows=2))(image, pair)
    assert not torch.allclose(changed, first, atol=1e-3)
