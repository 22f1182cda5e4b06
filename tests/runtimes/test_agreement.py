"""Answers that are not PyTorch's are noticed, also after the first image, and cost one warning and no study."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_cases import needs
from torch import Tensor, nn
from torch.nn import functional

from monai_dis.runtimes import with_runtime
from monai_dis.runtimes.agreement import INT8_TOLERANCE, TOLERANCE, largest_difference, relative_error
from monai_dis.runtimes.tried_operations import refuse_untried


class Small(nn.Module):
    """Weights, and a function of them that stands in no state dict."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 2, 3, padding=1)
        self.act = act
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.act(self.one(x)))


class Branching(nn.Module):
    """Another answer for bright images, which an export made from a dark one does not give."""

    def forward(self, x: Tensor) -> Tensor:
        bright = not torch.compiler.is_compiling() and bool(x.mean() > 1)
        return x * 3 if bright else x * 2


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("monai_dis")]


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "openvino-int8"])
def test_networks_of_equal_weights_share_no_export(runtime: str, tmp_path: Path) -> None:
    needs(runtime)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    most = INT8_TOLERANCE if runtime.endswith("int8") else 1e-4
    for network in (Small(functional.relu).eval(), Small(torch.sin).eval()):
        with torch.no_grad():
            answer = with_runtime(network, runtime, cache_dir=tmp_path)(x)
            assert relative_error([answer], [network(x)]) <= most
    assert len(list(tmp_path.glob("*.onnx"))) == 2
    assert len(list(tmp_path.glob("*-int8.zip"))) == (2 if runtime.endswith("int8") else 0)


def test_an_int8_model_belongs_to_the_images_that_it_was_made_with(tmp_path: Path) -> None:
    needs("openvino-int8")
    network = Small(functional.relu).eval()
    for times in (1, 1, 3):
        with torch.no_grad():
            with_runtime(network, "openvino-int8", cache_dir=tmp_path)(
                torch.linspace(0, times, 3072).reshape(1, 3, 32, 32)
            )
    assert len(list(tmp_path.glob("*-int8.zip"))) == 2


def test_an_int8_model_that_was_exchanged_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    needs("openvino-int8")
    network, x = Small(functional.relu).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        with_runtime(network, "openvino-int8", cache_dir=tmp_path / "one")(x)
        with_runtime(Small(torch.sin).eval(), "openvino-int8", cache_dir=tmp_path / "two")(x)
        (mine,), (other,) = ((tmp_path / name).glob("*-int8.zip") for name in ("one", "two"))
        mine.write_bytes(other.read_bytes())
        assert torch.equal(with_runtime(network, "openvino-int8", cache_dir=tmp_path / "one")(x), network(x))
    assert [("spread" in each, each.endswith("It runs in PyTorch from here on.")) for each in said(caplog)] == [
        (True, True)
    ]


@pytest.mark.parametrize("later", [1, 2, 25])
def test_an_answer_that_turns_wrong_is_noticed_by_samples(later: int, caplog: pytest.LogCaptureFixture) -> None:
    needs("onnx")
    network = Branching().eval()
    other = with_runtime(network, "onnx")
    dark, bright = torch.full((4, 1, 8, 8), 0.5), torch.full((4, 1, 8, 8), 2.0)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        for _ in range(later):
            assert torch.equal(other(dark), dark * 2)
        assert not said(caplog)
        assert torch.equal(other(bright), bright * 3)
        assert torch.equal(other(dark), dark * 2)
    assert len(said(caplog)) == 1


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d(4, affine=True), nn.GroupNorm(2, 4)])
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_normalisation_over_ground_of_zeros_is_stable(runtime: str, norm: nn.Module) -> None:
    needs(runtime)
    size = (64, 64, 48)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, *size, generator=generator)
    x[:, :, 16:] = 0  # as in a masked scan
    x += torch.tensor([0.1, 1.3, -3.0, 0.01]).reshape(1, 4, 1, 1, 1)
    norm = norm.eval()
    with torch.no_grad():
        difference = largest_difference([with_runtime(norm, runtime)(x)], [norm(x)])
    # exported as they are, 6.6e-5 after a single layer
    assert difference <= TOLERANCE / 50


class Sampling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        grid = functional.affine_grid(
            torch.eye(2, 3)[None].expand(x.shape[0], -1, -1), list(x.shape), align_corners=False
        )
        return functional.grid_sample(x, grid, align_corners=False)


def test_operations_that_crash_are_refused_by_name(caplog: pytest.LogCaptureFixture) -> None:
    needs("openvino")
    network = Sampling().eval()
    other = with_runtime(network, "openvino")
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (1, 3, 48, 80), (3, 3, 48, 80)):
            x = torch.randn(shape)
            assert torch.equal(other(x), network(x))
    (sentence,) = said(caplog)
    assert "GridSample" in sentence


def test_sessions_are_bounded() -> None:
    needs("openvino")
    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    other = with_runtime(network, "openvino")
    with torch.no_grad():
        for n in (*range(8, 20), 8):
            x = torch.randn(1, 1, n, n)
            torch.testing.assert_close(other(x), network(x))
    assert len(other.run._sessions) <= 4


@pytest.mark.parametrize("runtime", ["onnx", "openvino-int8"])
def test_a_cache_that_cannot_be_written_is_a_warning(
    runtime: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    needs(runtime)
    network, x = nn.Conv2d(1, 1, 3, padding=1).eval(), torch.randn(1, 1, 8, 8)
    (tmp_path / "file").write_text("no folder")
    other = with_runtime(network, runtime, cache_dir=tmp_path / "file")
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        assert relative_error([other(x)], [network(x)]) <= INT8_TOLERANCE
    assert not other.given_up
    (sentence,) = said(caplog)
    assert sentence.startswith("exports are not kept in") and sentence.endswith("the run goes on without.")


def test_tried_operations_pass() -> None:
    needs("onnx")
    from monai_dis.runtimes import export_onnx

    refuse_untried(
        export_onnx(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.PReLU()).eval(), [torch.ones(1, 1, 8, 8)]
        )
    )


def test_onnx_runtime_has_one_session_for_all_sizes() -> None:
    needs("onnx")
    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    other = with_runtime(network, "onnx")
    with torch.no_grad():
        for n in (8, 12, 20, 8):
            x = torch.randn(1, 1, n, n)
            torch.testing.assert_close(other(x), network(x))
    assert len(other.run._sessions) == 1
