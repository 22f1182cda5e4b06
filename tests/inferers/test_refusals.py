"""What the inferer refuses, with a sentence that says what to do: arguments, levels, images, networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_dis.errors import BudgetError, DisError, ImageError, LevelError, NetworkError
from monai_dis.inferers import IterativeInferer, Level
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import FixedConv


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mode": "cubic"}, LevelError, "mode must be one of constant, gaussian, got 'cubic'"),
        ({"padding_mode": "zeros"}, LevelError, "padding_mode must be one of"),
        ({"roi_size": 8.5}, LevelError, "roi_size must be a whole number"),
        ({"roi_size": "96"}, LevelError, "roi_size must be a whole number"),
        ({"roi_size": ()}, LevelError, "roi_size must be a whole number"),
        ({"overlap": 1.0}, LevelError, "overlap must be 0 or more and below 1, got 1.0"),
        ({"overlap": (0.5, -0.1)}, LevelError, "overlap must be 0 or more"),
        (
            {"sw_batch_size": 0},
            LevelError,
            "sw_batch_size must be a whole number of 1 or more, or None to find one, got 0",
        ),
        ({"coarse_scale": 0.5}, LevelError, "scale must be 1 or more"),
        ({"levels": []}, LevelError, "levels must hold one level at least"),
        ({"levels": [{"scale": 4, "roi": 3}]}, LevelError, "a level has no entry 'roi'"),
        ({"levels": [Level, 1]}, LevelError, "a level must be a Level, a mapping or a scale"),
        ({"activation": "relu"}, LevelError, "activation must be one of softmax, sigmoid"),
        ({"score": "variance"}, LevelError, "score must be one of"),
        ({"selection": "random"}, LevelError, "selection must be one of coverage, ranked"),
        ({"merge": "max"}, LevelError, "merge must be one of blend, replace, entropy"),
        ({"aggregate": "median"}, LevelError, "aggregate must be one of mean, sum, max"),
        ({"budget": {"windows": -1}}, BudgetError, "budget windows must be a whole number of 0 or more, got -1"),
        ({"budget": {"windows": 1.5}}, BudgetError, "budget windows must be a whole number"),
        ({"budget": {"coverage": 1.5}}, BudgetError, "must lie in"),
        ({"budget": {"coverage": float("nan")}}, BudgetError, "budget coverage must be a finite number"),
        ({"budget": {"operations": "all"}}, BudgetError, "budget operations must be a finite number"),
        ({"budget": {"window": 3}}, BudgetError, "budget has no entry 'window'"),
        ({"budget": 3}, BudgetError, "budget must be a Budget, a mapping, 'auto' or None"),
    ],
)
def test_arguments_are_refused_at_construction(arguments: dict[str, Any], error: type[DisError], words: str) -> None:
    with pytest.raises(error, match=words):
        IterativeInferer(**{"roi_size": 8, **arguments})


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ({}, "either scale or spacing_mm"),
        ({"scale": 2, "spacing_mm": 1.0}, "either scale or spacing_mm"),
        ({"scale": 0}, "scale must be 1 or more"),
        ({"scale": (2, 0.1)}, "scale must be 1 or more"),
        ({"spacing_mm": 0.0}, "spacing_mm must be above 0"),
        ({"scale": 1, "halo": -1}, "halo must be 0 or more"),
        ({"scale": 1, "sw_batch_size": 0}, "sw_batch_size must be a whole number"),
        ({"scale": 1, "uses": "fine"}, "uses must be 'refine', 'coarse' or the index"),
    ],
)
def test_levels_are_refused_at_construction(level: dict[str, Any], words: str) -> None:
    with pytest.raises(LevelError, match=words):
        Level(**level)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": [2, 4]}, "levels go from coarse to fine"),
        ({"levels": [Level((4, 4, 4)), 1]}, "has 3 entries, the image has 2 spatial axes"),
        ({"levels": [Level(spacing_mm=3.0), 1]}, "needs a MetaTensor"),
        ({"roi_size": (8, 8, 8)}, r"roi_size \(8, 8, 8\) has 3 entries, the image has 2 spatial axes"),
        ({"overlap": (0.5, 0.5, 0.5)}, "has 3 entries, the image has 2 spatial axes"),
        ({"levels": [4, Level(1, halo=(1, 2, 3))]}, "has 3 entries, the image has 2 spatial axes"),
        ({"roi_size": 64, "padding_mode": "reflect"}, "cannot be padded"),
    ],
)
def test_what_does_not_fit_the_image_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(LevelError, match=words):
        IterativeInferer(**{"roi_size": 8, **arguments})(torch.randn(1, 1, 16, 16), FixedConv(2, 1, 2))


@pytest.mark.parametrize("shape", [(16, 16), (1, 1, 0, 4), (1, 1, 2, 2, 2, 2)], ids=str)
def test_inputs_that_are_no_batch_of_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="add the batch and channel axes"):
        IterativeInferer(8)(torch.zeros(shape), FixedConv(2, 1, 2))


class Odd(nn.Module):
    """Refine networks of the wrong kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        right = x[:, :1]
        return {
            "channels": torch.cat([right, right], 1),
            "size": right[..., ::2],
            "batch": torch.cat([right, right]),
            "tuple": (right, right),
            "text": "no",
        }[self.kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("channels", "returns 2 channels, the coarse network 1"),
        ("size", "of the same share of its window.s size"),
        ("batch", "must keep the number of inputs"),
        ("tuple", "must answer in the form of the coarse network"),
        ("text", "must return a tensor"),
    ],
)
def test_networks_that_do_not_fit_are_refused(kind: str, words: str) -> None:
    network = TwoStageNet(FixedConv(2, 1, 1), Odd(kind))

    with pytest.raises(NetworkError, match=words):
        IterativeInferer(8)(torch.randn(1, 1, 16, 16), network)


def test_softmax_of_one_channel_is_refused() -> None:
    with pytest.raises(NetworkError, match="softmax"):
        IterativeInferer(8, activation="softmax")(torch.randn(1, 1, 16, 16), FixedConv(2, 1, 1))


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(NetworkError, match="network must be callable"):
        IterativeInferer(8)(torch.randn(1, 1, 16, 16), 3)  # type: ignore[arg-type]
