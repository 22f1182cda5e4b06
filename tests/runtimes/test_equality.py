"""Every runtime answers as PyTorch does, and says the same of what it cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from runtime_cases import needs, run_both, volume_inferer, volume_net
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.bundle import load_bundle
from monai_dis.runtimes import TOLERANCE, RuntimeModule, calibrating, needs_calibration, with_runtime
from monai_dis.runtimes.agreement import largest_difference

EXAMPLE = Path(__file__).parents[2] / "examples" / "chase_db1_02L.jpg"
EXACT = ("onnx", "openvino", pytest.param("compile", marks=pytest.mark.slow))


def statistics_of(result: Any) -> dict[str, Any]:
    statistics: dict[str, Any] = result.statistics.to_dict()
    del statistics["seconds"]
    return statistics


def expected_of(result: Any) -> dict[str, Any]:
    """What a runtime in float32 must say: the same, where a number comes from the answer within rounding."""
    statistics = statistics_of(result)
    for window in statistics["windows"]:
        window["score"] = pytest.approx(window["score"], abs=1e-4)
    for key in ("uncertain_left", "uncertain_left_mm", "dice_coarse_refined"):
        # a voxel at the edge of a class may fall to either side
        statistics[key] = None if statistics[key] is None else pytest.approx(statistics[key], abs=1e-3)
    return statistics


@pytest.fixture(scope="module", params=["fundus_vessels_dis", "skin_lesion_dis"])
def shipped(request: pytest.FixtureRequest) -> tuple[Any, Any, torch.Tensor]:
    bundle = load_bundle(request.param, device="cpu")
    # Dermoscopies may not be passed on; any photograph shows whether two runtimes agree.
    image = bundle.part("preprocessing")({"image": str(EXAMPLE)})["image"]
    return bundle.part("network"), bundle.part("inferer"), image[None]


@pytest.mark.parametrize("runtime", EXACT)
def test_shipped_networks_answer_as_in_pytorch(runtime: str, shipped: tuple[Any, Any, torch.Tensor]) -> None:
    needs(runtime)
    network, inferer, image = shipped
    ours, theirs = run_both(network, with_runtime(network, runtime), inferer, image)
    assert statistics_of(theirs) == expected_of(ours)
    assert ours.statistics.windows_refined > 0
    assert largest_difference([theirs.mosaic.coarse], [ours.mosaic.coarse]) <= TOLERANCE
    assert largest_difference([theirs.logits().as_tensor()], [ours.logits().as_tensor()]) <= TOLERANCE


@pytest.mark.parametrize("runtime", EXACT)
def test_volumes_of_several_sizes_and_batches(runtime: str) -> None:
    needs(runtime)
    network, inferer = volume_net(), volume_inferer()
    other = with_runtime(network, runtime)
    for size in ((20, 16, 12), (18, 23, 14), (20, 16, 12)):
        image = torch.randn(2, 1, *size)
        ours, theirs = run_both(network, other, inferer, image)
        assert statistics_of(theirs) == expected_of(ours)
        assert largest_difference([theirs.logits()], [ours.logits()]) <= TOLERANCE


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_mixed_precision_leaves_an_export_in_float32(runtime: str) -> None:
    needs(runtime)
    network, inferer, image = volume_net(), volume_inferer(), torch.randn(1, 1, 20, 16, 12)
    ours = inferer.run(image, network)
    theirs = inferer.replaced(autocast="bfloat16").run(image, with_runtime(network, runtime))
    assert largest_difference([theirs.logits()], [ours.logits()]) <= TOLERANCE


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_operations_are_those_that_a_counter_sees(runtime: str) -> None:
    needs(runtime)
    network, inferer = with_runtime(volume_net(), runtime), volume_inferer()
    image = torch.randn(1, 1, 20, 16, 12)
    with FlopCounterMode(display=False) as counter:
        statistics = inferer.run(image, network).statistics
    assert statistics.operations == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
    assert inferer.run(image, network).statistics.operations == statistics.operations > 0


# on a picture of the kind that the networks know: ranges are taken from it
@pytest.mark.parametrize("shipped", ["fundus_vessels_dis"], indirect=True)
def test_int8_changes_few_pixels(shipped: tuple[Any, Any, torch.Tensor]) -> None:
    needs("openvino-int8")
    network, inferer, image = shipped
    small = with_runtime(network, "openvino-int8")
    assert needs_calibration(small)
    with calibrating(small):
        inferer.run(image, small)
    assert not needs_calibration(small)
    ours, theirs = run_both(network, small, inferer, image)
    a, b = (result.labels().as_tensor() == 1 for result in (ours, theirs))
    assert not torch.equal(ours.mosaic.coarse, theirs.mosaic.coarse)  # it is int8
    # Windows at the end of the budget may change places; the fundus example's vessels are a tenth of the image.
    assert float((a != b).float().mean()) < 0.005
    budget = inferer.settings.budget.operations
    assert theirs.statistics.fraction_of_full_pass <= budget


def test_int8_without_calibration_takes_the_first_windows() -> None:
    needs("openvino-int8")
    network, inferer = volume_net(), volume_inferer()
    other = with_runtime(network, "openvino-int8")
    image = torch.randn(1, 1, 20, 16, 12)
    ours, theirs = run_both(network, other, inferer, image)
    assert 0 < largest_difference([theirs.mosaic.coarse], [ours.mosaic.coarse]) < 0.1
    assert isinstance(other.scorer, RuntimeModule)
    assert not hasattr(other.scorer.run, "calibrated")  # the scorer stays float32


def test_threads_are_those_of_pytorch() -> None:
    needs("openvino")
    network = with_runtime(torch.nn.Conv2d(3, 2, 3, padding=1).eval(), "openvino")
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                network(torch.randn(1, 3, 8, 8))
    finally:
        torch.set_num_threads(before)
    sessions = network.run._sessions
    asked = {key[2]: each._request.get_compiled_model() for key, each in sessions.items()}
    # OpenVINO takes no more than the cores that this process may use
    most = len(os.sched_getaffinity(0))
    assert {n: model.get_property("INFERENCE_NUM_THREADS") for n, model in asked.items()} == {1: 1, 2: min(2, most)}
