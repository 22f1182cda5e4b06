"""How the network is called: everything that MONAI's sliding window passes along, with the same result everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.networks.nets import BasicUNet
from torch import Tensor

from monai_dis.errors import ImageError, NetworkError
from monai_dis.inferers import Budget, IterativeInferer, Level, iterative_inference
from monai_dis.testing.networks import FixedConv

SHAPES = [((2, 1, 41, 30), (16, 12)), ((1, 1, 9, 20, 13), (12, 8, 8))]


def levels_over(roi: tuple[int, ...]) -> dict[str, list[Any]]:
    """Every way to have a level 0 under a sparse level at full resolution."""
    return {
        "one pass": [Level(2), Level(1)],
        "windows": [Level(2, roi_size=roi), Level(1)],
        "average": [Level(1, roi_size=roi, overlap=0), Level(1, merge="average")],
    }


def both(
    shape: tuple[int, ...],
    roi: tuple[int, ...],
    dense: str,
    network: Callable[..., Any],
    image: Tensor | None = None,
    **arguments: Any,
) -> tuple[Any, Any]:
    """Our answer everywhere and MONAI's."""
    image = torch.randn(shape) if image is None else image
    got = iterative_inference(image, roi, 3, network, 0.5, "gaussian", levels=levels_over(roi)[dense], **arguments)
    with torch.no_grad():
        want = sliding_window_inference(image, roi, 3, network, 0.5, "gaussian", **arguments)
    return got, want


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_coordinates(shape: tuple[int, ...], roi: tuple[int, ...], dense: str) -> None:
    """A network that answers with where it is: image, and first and last voxel of its window."""

    def network(window: Tensor, places: list[list[slice]]) -> Tensor:
        assert all(p[1] == slice(None) for p in places) and len(places) == len(window)
        values = [[p[0].start, p[0].stop, *[s.start + 100 * s.stop for s in p[2:]]] for p in places]
        return window + torch.tensor(values).float().reshape(*torch.tensor(values).shape, *[1] * (window.ndim - 2))

    got, want = both(shape, roi, dense, network, with_coord=True)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_condition(shape: tuple[int, ...], roi: tuple[int, ...], dense: str) -> None:
    conv = FixedConv(len(shape) - 2, 2, 3)

    def network(window: Tensor, *, condition: Tensor) -> Tensor:
        answer: Tensor = conv(torch.cat([window, condition], 1))
        return answer

    got, want = both(shape, roi, dense, network, condition=torch.randn(shape))

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_condition_and_coordinates_are_counted_and_cost_what_the_network_costs() -> None:
    conv = FixedConv(2, 2, 3)

    def network(window: Tensor, places: Any, scale: float, *, condition: Tensor) -> Tensor:
        assert len(places) == len(window) and scale == 2.0
        answer: Tensor = conv(torch.cat([window, condition], 1))
        return answer

    image = torch.randn(2, 1, 40, 40)
    inferer = IterativeInferer(16, 3, 0.5, coarse_scale=2, with_coord=True, budget=Budget(sliding_window=0.5))
    statistics = inferer.run(image, network, 2.0, condition=torch.randn(2, 1, 40, 40)).statistics

    windows, weights = statistics.windows_refined, 2 * 3 * 9
    assert statistics.operations == weights * (2 * 20 * 20 + windows * 16 * 16)
    assert 0 < statistics.fraction_of_sliding_window <= 0.5


def test_a_condition_of_another_shape_is_refused() -> None:
    with pytest.raises(
        ImageError, match=r"condition must have the shape of the inputs \(1, 1, 20, 20\), got \(1, 1, 2"
    ):
        IterativeInferer(8)(torch.randn(1, 1, 20, 20), FixedConv(2, 1, 2), condition=torch.randn(1, 1, 21, 20))


@pytest.mark.parametrize("form", [tuple, list, dict])
@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_several_outputs(shape: tuple[int, ...], roi: tuple[int, ...], dense: str, form: type) -> None:
    first, second = (FixedConv(len(shape) - 2, 1, n, seed=n) for n in (3, 2))

    def network(window: Tensor) -> Any:
        answers = first(window), second(window)
        return {"seg": answers[0], "edge": answers[1]} if form is dict else form(answers)

    got, want = both(shape, roi, dense, network)

    assert type(got) is type(want)
    if isinstance(want, Mapping):  # MONAI sorts the names, which need not be sortable
        got, want = [got[key] for key in want], list(want.values())
    assert len(got) == 2
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_processing_of_windows(shape: tuple[int, ...], roi: tuple[int, ...], dense: str) -> None:
    """The weights that a function returns count, and so does what it makes of the answers."""
    tilted = torch.linspace(0.1, 1, roi[0]).reshape(-1, *[1] * (len(roi) - 1)).expand(roi)

    def process(outputs: tuple[Tensor, ...], windows: Tensor, weights: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        assert windows.shape[2:] == weights.shape == roi
        return tuple(o + windows.mean() * 0 + 2 for o in outputs), weights * tilted

    got, want = both(shape, roi, dense, FixedConv(len(shape) - 2, 1, 3), process_fn=process)
    plain, _ = both(shape, roi, dense, FixedConv(len(shape) - 2, 1, 3), image=torch.zeros(shape))

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(got, plain, atol=1e-2)


def test_weights_of_another_shape_are_refused() -> None:
    def process(outputs: Any, windows: Tensor, weights: Tensor) -> Any:
        return outputs, weights[:4]

    with pytest.raises(NetworkError, match="one weight for each voxel of a window"):
        IterativeInferer(8, process_fn=process)(torch.randn(1, 1, 20, 20), FixedConv(2, 1, 2))


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_weights_of_the_callers_own(shape: tuple[int, ...], roi: tuple[int, ...], dense: str) -> None:
    weights = torch.rand(roi) + 0.1

    got, want = both(shape, roi, dense, FixedConv(len(shape) - 2, 1, 3), roi_weight_map=weights)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types(dtype: torch.dtype, dense: str) -> None:
    image = torch.randn(1, 1, 41, 30).to(dtype)

    got, want = both((1, 1, 41, 30), (16, 12), dense, FixedConv(2, 1, 3).to(dtype), image=image)

    assert got.dtype == want.dtype == dtype
    # MONAI adds up in the type of the image; here 16-bit answers are averaged in float32.
    tolerance = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float64: 1e-10}[dtype]
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
def test_whole_numbers_are_read_as_floats(dense: str) -> None:
    """MONAI would put the answer into the image's own whole numbers."""
    image = torch.randint(0, 255, (1, 1, 41, 30), dtype=torch.uint8)
    network = FixedConv(2, 1, 3)

    got = iterative_inference(image, 16, 3, network, 0.5, levels=levels_over((16, 16))[dense])
    with torch.no_grad():
        want = sliding_window_inference(image.float(), 16, 3, network, 0.5)

    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dense", ["one pass", "windows", "average"])
def test_mixed_precision(dense: str) -> None:
    network = BasicUNet(2, 1, 2, (4, 4, 8, 8, 8, 4)).eval()
    roi = (32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        got, want = both((1, 1, 90, 70), roi, dense, network)

    assert got.dtype == want.dtype == torch.float32
    # MONAI weights the answers in the network's 16 bits, here in float32.
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)
    assert got.std() > 0.1


def test_large_images_are_put_together_on_the_cpu() -> None:
    image = MetaTensor(torch.randn(1, 1, 20, 20))
    inferer = IterativeInferer(8, cpu_thresh=100, sw_device="cpu")

    assert inferer(image, FixedConv(2, 1, 2)).device.type == "cpu"


def test_a_smaller_budget_calls_the_same_way() -> None:
    """Coordinates, condition and weights reach the chosen windows and no others."""
    seen: list[Any] = []

    def network(window: Tensor, places: Any, *, condition: Tensor) -> Tensor:
        seen.extend(places)
        torch.testing.assert_close(condition, 2 * window)
        return torch.cat([window, -window], 1)

    image = torch.randn(1, 1, 64, 64)
    result = IterativeInferer(16, 2, 0.5, coarse_scale=4, with_coord=True, budget=Budget(windows=3)).run(
        image, network, condition=2 * image
    )

    real = [tuple(s.start for s in p[2:]) for p in seen if p[2].stop - p[2].start == 16 and p[2:] != [slice(0, 16)] * 2]
    assert {w.corner for w in result.windows} - {(0, 0)} <= set(real)
    assert len(result.windows) == 3
