"""What a network of a runtime is made of, and what is said where it cannot be."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_cases import needs, volume_net
from torch import Tensor, nn

from monai_dis.errors import BackendError
from monai_dis.networks import GainNet, TwoStageNet
from monai_dis.runtimes import RUNTIMES, RuntimeModule, export_onnx, with_runtime
from monai_dis.runtimes.compiled import CompiledRun


class ByRule(nn.Module):
    """Answers by a rule that an export for any size freezes."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.shape[-1] // 8)


class TwoAnswers(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"second": x + 1, "first": x * 2}


class Wrong(nn.Module):
    """Another answer at every call, as no export can give."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("monai_dis")]


def test_a_pair_of_stages_stays_one() -> None:
    network = volume_net()
    other = with_runtime(network, "compile")
    assert isinstance(other, TwoStageNet)
    assert other.conditioned and other.coarse.original is network.coarse  # type: ignore[union-attr]
    assert all(isinstance(part, RuntimeModule) for part in (other.coarse, other.refiner(0), other.scorer_of(0)))
    assert with_runtime(network, "torch") is network


def test_one_network_in_two_places_is_one() -> None:
    net = nn.Conv2d(3, 1, 3, padding=1).eval()
    other = with_runtime(TwoStageNet(net, [net, nn.Conv2d(3, 1, 1)]).eval(), "compile")
    assert isinstance(other, TwoStageNet)
    assert other.coarse is other.refiner(0) is not other.refiner(1)


def test_an_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(BackendError, match=", ".join(RUNTIMES)):
        with_runtime(nn.Identity(), "abacus")


def test_a_runtime_on_top_of_one_is_refused() -> None:
    with pytest.raises(BackendError, match="has a runtime already"):
        with_runtime(with_runtime(nn.Identity().eval(), "compile"), "compile")


@pytest.mark.parametrize(
    ("runtime", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("openvino-int8", "nncf")]
)
def test_a_missing_package_names_the_extra(runtime: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime == "openvino-int8":
        needs("openvino")
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks a module that cannot be had
    with pytest.raises(BackendError, match=rf'{runtime} needs {package}; install it with .*"monai-dis\[runtimes\]"'):
        with_runtime(nn.Identity(), runtime)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_tensorrt_without_a_gpu_says_so() -> None:
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        with_runtime(nn.Identity(), "tensorrt")


def test_a_compiler_that_fails_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no compiler")

    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    run = CompiledRun(network, "coarse", backend=broken)
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        assert torch.equal(run(x), network(x))
        assert torch.equal(run(x), network(x))
    assert [said.split(" (")[0] for said in warnings_of(caplog)] == [
        "torch.compile failed for the coarse network, which runs without it"
    ]


def test_an_error_of_the_network_is_not_blamed_on_the_compiler(caplog: pytest.LogCaptureFixture) -> None:
    run = CompiledRun(nn.Conv2d(1, 1, 3).eval(), "coarse", backend="eager")
    with torch.no_grad(), pytest.raises(RuntimeError):
        run(torch.randn(1, 2, 8, 8))
    assert not run.failed and not warnings_of(caplog)


def test_sizes_for_which_an_export_is_wrong_get_their_own() -> None:
    needs("onnx")
    for network, inputs in (
        (ByRule(), lambda n: [torch.ones(1, 1, n, n)]),
        (GainNet(nn.Conv2d(2, 1, 3, padding=1), 1, divisible=4), lambda n: [torch.ones(1, 1, n, n)] * 2),
    ):
        other = with_runtime(network.eval(), "onnx")
        with torch.no_grad():
            for n in (16, 18, 33, 16):
                torch.testing.assert_close(other(*inputs(n)), network(*inputs(n)), atol=1e-5, rtol=1e-5)


def test_a_network_that_answers_otherwise_runs_in_pytorch_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    needs("onnx")
    wrong, x = Wrong().eval(), torch.ones(1, 1, 4, 4)
    other = with_runtime(wrong, "onnx")
    with torch.no_grad(), caplog.at_level(logging.WARNING, "monai_dis"):
        for _ in range(3):
            assert float(other(x).max()) == wrong.calls  # PyTorch's own
    (said,) = warnings_of(caplog)
    assert said.startswith("The network Wrong does not answer in onnx as it does in PyTorch")
    assert said.endswith("It runs in PyTorch from here on.")


def test_several_answers_keep_their_names_and_their_type() -> None:
    needs("onnx")
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        answer = with_runtime(TwoAnswers().eval(), "onnx")(x)
    assert list(answer) == ["second", "first"]
    assert answer["first"].dtype == torch.float64
    torch.testing.assert_close(answer["first"], x * 2, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(answer["second"], x + 1, atol=1e-6, rtol=1e-6)


class WithPlaces(nn.Module):
    def forward(self, x: Tensor, places: Any = None) -> Tensor:
        return x


def test_further_arguments_are_for_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    needs("onnx")
    x = torch.ones(1, 1, 4)
    with caplog.at_level(logging.WARNING, "monai_dis"):
        assert torch.equal(with_runtime(WithPlaces(), "onnx").eval()(x, places=[]), x)
    assert ["tensors alone" in said for said in warnings_of(caplog)] == [True]


def test_training_is_pytorchs() -> None:
    needs("onnx")
    other = with_runtime(nn.Conv2d(1, 1, 1).eval(), "onnx").train()
    other(torch.ones(1, 1, 4, 4)).sum().backward()
    assert all(p.grad is not None for p in other.parameters())


@pytest.mark.parametrize("runtime", ["onnx", "openvino-int8"])
def test_exports_are_kept_and_damaged_ones_made_anew(runtime: str, tmp_path: Path) -> None:
    needs(runtime)
    network, x = nn.Conv2d(1, 2, 3, padding=1).eval(), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        first = with_runtime(network, runtime, cache_dir=tmp_path / "kept")(x)
        (file,) = (tmp_path / "kept").glob("*.onnx")
        content = file.read_bytes()
        again = with_runtime(network, runtime, cache_dir=tmp_path / "kept")(x)
        assert torch.equal(again, first)
        assert file.read_bytes() == content
        file.write_bytes(content[:50])
        assert torch.equal(with_runtime(network, runtime, cache_dir=tmp_path / "kept")(x), first)
        assert len(file.read_bytes()) == len(content)
        network.weight.add_(1)  # other weights are another export
        torch.testing.assert_close(
            with_runtime(network, "onnx", cache_dir=tmp_path / "kept")(x) if runtime == "onnx" else network(x),
            network(x),
        )
    assert not list((tmp_path / "kept").glob(".part-*"))
    assert len(list((tmp_path / "kept").glob("*.onnx"))) == (2 if runtime == "onnx" else 1)


def test_an_export_is_a_model_for_any_batch_and_size(tmp_path: Path) -> None:
    needs("onnx")
    import onnx

    content = export_onnx(nn.Conv2d(3, 2, 3).eval(), [torch.ones(1, 3, 8, 9)], tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == content
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [bool(d.dim_param) for d in dims] == [True, False, True, True]
    assert dims[1].dim_value == 3
