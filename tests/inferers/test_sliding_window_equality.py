"""Everywhere mode against MONAI's sliding window, over a table of windows, overlap, blending, padding and batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from monai.utils import BlendMode, PytorchPadMode

from monai_dis.inferers import Budget, IterativeInferer, Level, iterative_inference
from monai_dis.testing.networks import FixedConv

SHAPES = [
    pytest.param((1, 1, 32, 32), (16, 16), id="2d-whole-windows"),
    pytest.param((2, 3, 37, 50), (16, 20), id="2d-odd-batch"),
    pytest.param((3, 1, 9, 40), (16, 16), id="2d-one-axis-smaller"),
    pytest.param((1, 2, 5, 7), (16, 11), id="2d-smaller"),
    pytest.param((1, 1, 30, 21), (16, -1), id="2d-whole-axis"),
    pytest.param((1, 1, 30, 21), 8, id="2d-one-number"),
    pytest.param((2, 2, 13, 20, 9), (8, 8, 8), id="3d-odd-batch"),
    pytest.param((1, 1, 6, 20, 30), (8, 16, 11), id="3d-smaller"),
    pytest.param((2, 1, 61), (16,), id="1d"),
]


@pytest.mark.parametrize(("shape", "roi_size"), SHAPES)
@pytest.mark.parametrize(("overlap", "mode"), list(itertools.product([0, 0.25, 0.5, 0.8], ["constant", "gaussian"])))
def test_equal_for_windows_overlap_and_mode(
    shape: tuple[int, ...], roi_size: int | tuple[int, ...], overlap: float, mode: str
) -> None:
    image = torch.randn(shape)
    network = FixedConv(len(shape) - 2, shape[1], 3)

    got = iterative_inference(image, roi_size, 4, network, overlap, mode)
    with torch.no_grad():
        want = sliding_window_inference(image, roi_size, 4, network, overlap, mode)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding_mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(2, 1, 12, 40), (1, 2, 12, 13), (1, 1, 9, 12, 10)], ids=str)
def test_equal_for_padding_modes(padding_mode: str, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape)
    network = FixedConv(len(shape) - 2, shape[1], 2)
    arguments = {"overlap": 0.5, "padding_mode": padding_mode, "cval": 0.7 if padding_mode == "constant" else 0.0}

    got = iterative_inference(image, 16, 3, network, **arguments, coarse_scale=2)
    with torch.no_grad():
        want = sliding_window_inference(image, 16, 3, network, **arguments)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_equal_for_overlap_and_sigma_per_axis() -> None:
    image = torch.randn(1, 1, 40, 30)
    network = FixedConv(2, 1, 2)

    got = iterative_inference(image, (16, 12), 2, network, (0.25, 0.6), "gaussian", (0.2, 0.1))
    with torch.no_grad():
        want = sliding_window_inference(image, (16, 12), 2, network, (0.25, 0.6), "gaussian", (0.2, 0.1))

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_equal_in_double_precision() -> None:
    image = torch.randn(1, 1, 40, 30, dtype=torch.float64)
    network = FixedConv(2, 1, 2).double()

    got = iterative_inference(image, 16, 2, network, 0.5)
    with torch.no_grad():
        want = sliding_window_inference(image, 16, 2, network, 0.5)

    assert got.dtype == torch.float64
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_takes_the_positional_arguments_and_enumerations_of_monai() -> None:
    image = torch.randn(1, 1, 20, 30)
    network = FixedConv(2, 1, 2)
    arguments = (16, 2, 0.5, BlendMode.GAUSSIAN, 0.2, PytorchPadMode.REPLICATE, 0.0, "cpu", "cpu", False)

    got = IterativeInferer(*arguments)(image, network)
    with torch.no_grad():
        want = SlidingWindowInferer(*arguments)(image, network)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 40, 51), (1, 2, 20, 33, 17)], ids=str)
def test_a_dense_level_with_windows_is_the_sliding_window_on_its_grid(shape: tuple[int, ...]) -> None:
    image = torch.randn(shape)
    network = FixedConv(len(shape) - 2, shape[1], 2)
    inferer = IterativeInferer(
        8, 3, 0.5, "gaussian", levels=[Level(1, roi_size=12, overlap=0.25)], budget=Budget(windows=0)
    )

    result = inferer.run(image, network)
    with torch.no_grad():
        want = sliding_window_inference(image, 12, 3, network, 0.25, "gaussian")

    torch.testing.assert_close(result.logits(), want, rtol=1e-5, atol=1e-5)
    assert result.statistics.calls["coarse"] > 1
