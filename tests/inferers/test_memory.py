"""Batches that do not fit into memory, batches that nobody chose, and mixed precision: the answer stays what it is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from monai_dis.errors import LevelError, OutOfMemoryError
from monai_dis.inferers import Budget, DropInInferer, IterativeInferer, Level
from monai_dis.inferers.batching import is_out_of_memory, windows_at_once
from monai_dis.inferers.call import computes_bfloat16, mixed_precision
from monai_dis.networks import ResidualRefiner, TwoStageNet
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, cases

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Narrow(nn.Module):
    """Runs out of memory for more than ``most`` windows at a time, and remembers how many it was given.

    Args:
        network: answers where it does not.
        most: windows that fit.
        error: what is raised.
    """

    def __init__(self, network: nn.Module, most: int, error: Exception | None = None) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.error = torch.OutOfMemoryError("CUDA out of memory.") if error is None else error
        self.tried: list[int] = []

    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch._subclasses.FakeTensor):
            self.tried.append(len(x))
            if len(x) > self.most:
                raise self.error
        answer: torch.Tensor = self.network(x, *more)
        return answer


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:75] data. DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "cpu-windows", "python"],
)
def test_batches_shrink_until_they_fit_and_nothing_is_done_twice(
    error: Exception, conditioned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    image = torch.randn(2, 1, 40, 41)
    refine = ResidualRefiner(FixedConv(2, 3, 2), 2) if conditioned else FixedConv(2, 1, 2, seed=1)
    nn.init.normal_(refine.head.weight) if isinstance(refine, ResidualRefiner) else None
    narrow = Narrow(refine, 3, error)
    how = "logits" if conditioned else "none"
    inferer = IterativeInferer(8, 16, 0.5, budget=Budget(windows=11))

    with caplog.at_level(logging.WARNING, "monai_dis"):
        result = inferer.run(image, TwoStageNet(FixedConv(2, 1, 2), narrow, how))

    wide = inferer.run(image, TwoStageNet(FixedConv(2, 1, 2), refine, how))
    assert result.windows == wide.windows
    torch.testing.assert_close(result.logits(), wide.logits(), rtol=1e-6, atol=1e-5)
    # 16 windows do not fit, nor do 8, nor 4; then 22 windows go two by two.
    assert narrow.tried == [16, 8, 4, *[2] * 11]
    assert [r.getMessage() for r in caplog.records] == [
        f"level 1: a batch of {n} windows does not fit into memory, going on with {n // 2}" for n in (16, 8, 4)
    ]
    assert result.statistics.operations == wide.statistics.operations


def test_memory_that_runs_out_on_the_way_keeps_what_is_finished() -> None:
    """The network runs out of memory once, at the third batch."""

    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[int] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not isinstance(x, torch._subclasses.FakeTensor):
                self.calls.append(len(x))
                if len(self.calls) == 3:
                    raise torch.OutOfMemoryError
            return torch.cat([x, -x], 1)

    network = TwoStageNet(FixedConv(2, 1, 2), Once())

    result = IterativeInferer(8, 4, budget=Budget(windows=16)).run(torch.randn(1, 1, 64, 64), network)

    assert network.refine.calls == [4, 4, 4, 2, 2, 2, 2]
    assert len(result.mosaic.layers[0]) == 16


def test_one_window_that_does_not_fit_says_what_to_do() -> None:
    network = TwoStageNet(FixedConv(2, 1, 2), Narrow(FixedConv(2, 1, 2), 0))

    with pytest.raises(
        OutOfMemoryError, match=r"level 1: one window of 8 x 8 voxels does not fit .* use a smaller roi_size"
    ):
        IterativeInferer(8, 4)(torch.randn(1, 1, 32, 32), network)


def test_other_errors_are_nobodys_memory() -> None:
    network = TwoStageNet(FixedConv(2, 1, 2), Narrow(FixedConv(2, 1, 2), 0, RuntimeError("sizes do not match")))

    with pytest.raises(RuntimeError, match="sizes do not match"):
        IterativeInferer(8, 4)(torch.randn(1, 1, 32, 32), network)
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_level_0_in_windows_shrinks_too_and_in_one_pass_says_what_to_do() -> None:
    image = torch.randn(1, 1, 64, 64)
    levels = [Level(2, roi_size=8, sw_batch_size=8), Level(1)]
    coarse = Narrow(FixedConv(2, 1, 2), 2)
    inferer = IterativeInferer(8, 4, levels=levels, budget=Budget(windows=3))

    got = inferer.run(image, TwoStageNet(coarse, FixedConv(2, 1, 2)))

    assert coarse.tried[:2] == [8, 4] and set(coarse.tried[2:]) <= {1, 2}
    want = inferer(image, TwoStageNet(FixedConv(2, 1, 2), FixedConv(2, 1, 2)))
    torch.testing.assert_close(got.logits(), want, rtol=1e-6, atol=1e-5)
    assert got.statistics.calls["coarse"] == len(coarse.tried) - 2
    with pytest.raises(OutOfMemoryError, match=r"level 0: one pass over 16 x 16 voxels .* coarse_scale"):
        IterativeInferer(8)(image, TwoStageNet(Narrow(FixedConv(2, 1, 2), 0), FixedConv(2, 1, 2)))


class Small(nn.Module):
    """Runs out of memory for more than so many voxels at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.network, self.most = FixedConv(2, 1, 2), most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch._subclasses.FakeTensor) and x[:, 0].numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        answer: torch.Tensor = self.network(x)
        return answer


@pytest.mark.parametrize("windows", [1, 2])
@pytest.mark.parametrize(
    "inferer",
    [DropInInferer(32, 4, 0.5, budget={"sliding_window": 0.4}), IterativeInferer(32, 4, 0.5, coarse_scale=1)],
    ids=["drop-in", "iterative"],
)
def test_where_the_sliding_window_runs_the_drop_in_runs(
    inferer: IterativeInferer, windows: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory for so many windows: the first pass over a whole image goes in windows too."""
    image = torch.randn(1, 1, 60, 41)

    with caplog.at_level(logging.WARNING, "monai_dis"):
        got = inferer.run(image, Small(windows * 1024))

    assert "does not fit into memory in one pass, it goes in windows of (32, 32)" in caplog.text
    assert got.logits().shape == (1, 2, 60, 41)
    assert got.statistics.operations > 0


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 8.00 GB)",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "HIP out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_the_texts_of_exhausted_accelerators(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))


def test_an_answer_that_does_not_fit_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    result = IterativeInferer(8, budget=Budget(windows=1)).run(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))

    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(result.mosaic, "on", full)

    with pytest.raises(OutOfMemoryError, match='use output="labels"'):
        result.logits()


@gpu
@needs_gpu
def test_the_answer_moves_to_the_cpu_where_one_window_no_longer_fits() -> None:
    image = torch.randn(1, 1, 64, 64, device="cuda")
    network = TwoStageNet(FixedConv(2, 1, 2), FixedConv(2, 1, 2)).cuda()
    inferer = IterativeInferer(8, 4, budget=Budget(windows=20))
    want = inferer(image, network)
    failed: list[int] = []

    def once(module: nn.Module, inputs: Any) -> None:
        if not isinstance(inputs[0], torch._subclasses.FakeTensor) and len(failed) < 3:
            failed.append(len(inputs[0]))
            raise torch.OutOfMemoryError

    network.refine.register_forward_pre_hook(once)
    result = inferer.run(image, network)

    assert failed == [4, 2, 1]
    assert result.mosaic.coarse.device.type == "cpu"
    torch.testing.assert_close(result.logits().cpu(), want.cpu(), rtol=1e-4, atol=1e-4)


# Batches that nobody chose


@given(case=cases(), windows=st.integers(1, 12))
def test_a_batch_that_nobody_chose_changes_nothing(case: Case, windows: int) -> None:
    network = FixedConv(case.dims, case.image.shape[1], case.classes)
    one = IterativeInferer(**case.windowing, budget=Budget(windows=windows))

    found = one.replaced(sw_batch_size=None)(case.image, network)

    torch.testing.assert_close(found, one(case.image, network), rtol=1e-6, atol=1e-5)


def test_on_a_cpu_a_batch_holds_so_many_voxels() -> None:
    refine = Narrow(FixedConv(2, 1, 2), 99)
    inferer = IterativeInferer(64, None, 0, coarse_scale=4)

    inferer(torch.randn(1, 1, 512, 512), TwoStageNet(FixedConv(2, 1, 2), refine))

    assert windows_at_once((64, 64)) == 16
    assert refine.tried == [16] * 4
    assert IterativeInferer(64, None).settings.sw_batch_size is None
    with pytest.raises(LevelError, match="or None to find one, got 0"):
        IterativeInferer(64, 0)


@gpu
@needs_gpu
def test_on_a_gpu_the_first_window_says_how_many_fit() -> None:
    refine = Narrow(FixedConv(2, 1, 2), 10**6)
    network = TwoStageNet(FixedConv(2, 1, 2), refine).cuda()

    IterativeInferer(16, None, 0)(torch.randn(1, 1, 256, 256, device="cuda"), network)

    assert refine.tried[0] == 1
    assert refine.tried[1] > 1
    assert sum(refine.tried) == 256


# Mixed precision


@pytest.mark.parametrize("autocast", ["bfloat16", "float16", "auto"])
def test_networks_run_in_mixed_precision_and_logits_are_kept_in_float32(autocast: str) -> None:
    image = torch.randn(1, 1, 48, 48)
    seen: list[torch.dtype] = []

    class Watched(FixedConv):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer = super().forward(x)
            if not isinstance(answer, torch._subclasses.FakeTensor):
                seen.append(answer.dtype)
            return answer

    network = TwoStageNet(Watched(2, 1, 2), Watched(2, 1, 2, seed=1))
    inferer = IterativeInferer(8, 4, 0.5, mode="gaussian", budget=Budget(windows=9))

    result = inferer.replaced(autocast=autocast).run(image, network)

    want = autocast if autocast != "auto" else "bfloat16" if computes_bfloat16("cpu") else "float32"
    assert set(seen) == {getattr(torch, want)}
    assert result.mosaic.coarse.dtype == torch.float32
    assert {w.dtype for w in result.mosaic.layers[0].logits} == {torch.float32}
    # Eight bits of mantissa are 1 part in 256.
    everywhere = inferer.with_budget(Budget.everywhere())
    precise, mixed = (i(image, network) for i in (everywhere, everywhere.replaced(autocast=autocast)))
    torch.testing.assert_close(mixed, precise, rtol=0.02, atol=0.1)
    assert result.statistics.operations == inferer.run(image, network).statistics.operations


def test_a_device_that_is_not_known_for_it_keeps_full_precision() -> None:
    assert not computes_bfloat16("mps")
    with mixed_precision("auto", torch.device("mps")):
        assert not torch.is_autocast_enabled("cpu")


def test_mixed_precision_is_one_of_three() -> None:
    with pytest.raises(LevelError, match="autocast must be one of bfloat16, float16, auto"):
        IterativeInferer(8, autocast="int8")
