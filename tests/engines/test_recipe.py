"""Stages of a recipe: each once, in order, on from where a killed run was, and weights that fit the pair of networks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_dis.bundle import find_bundle
from monai_dis.engines.checkpoint import latest_checkpoint
from monai_dis.engines.recipe import assemble, run_stages, stage_name
from monai_dis.engines.stage_files import export_weights
from monai_dis.errors import BundleError

SMALL = ["--full_size", "[128, 128]", "--steps_per_epoch", "4", "--batch_size", "2", "--workers", "0"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures of a bright disc, in the simple layout."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:72, :64]
    for index in range(8):
        disc = (y - rng.integers(20, 50)) ** 2 + (x - rng.integers(20, 44)) ** 2 < 150
        for part, values in (
            ("images", 60 + 120 * disc[..., None] + rng.integers(0, 40, (72, 64, 3))),
            ("masks", disc),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(folder / part / f"disc{index}.png")
    return folder


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        pytest.param({"overlay": "coarse", "fold": 0}, "coarse_fold0", id="fold"),
        pytest.param({"overlay": "coarse"}, "coarse", id="all-cases"),
        pytest.param({"overlay": "coarse", "name": "coarse_short", "short": True}, "coarse_short", id="own-name"),
        pytest.param({"overlay": "baseline", "scale": 1}, "baseline", id="full-resolution"),
        pytest.param({"overlay": "baseline", "scale": 4}, "baseline_4", id="quarter"),
        pytest.param({"overlay": ["uniform", "residual"], "fold": 1}, "residual_fold1", id="several-overlays"),
    ],
)
def test_stage_names(stage: dict[str, object], name: str) -> None:
    assert stage_name(stage) == name


def test_assembled_weights_load_into_the_pair(tmp_path: Path) -> None:
    from monai_dis.bundle import load_weights
    from monai_dis.networks import TwoStageNet

    parts = {name: torch.nn.Conv2d(1, 1, 3) for name in ("coarse", "refine")}
    for name, module in parts.items():
        export_weights(module, tmp_path / f"{name}.pt")
    assemble({name: tmp_path / f"{name}.pt" for name in parts}, tmp_path / "model.pt")
    pair = load_weights(TwoStageNet(torch.nn.Conv2d(1, 1, 3), torch.nn.Conv2d(1, 1, 3)), tmp_path / "model.pt")
    assert pair.coarse.weight.dtype == torch.float32
    torch.testing.assert_close(pair.coarse.weight, parts["coarse"].weight, atol=1e-6, rtol=2**-11)
    torch.testing.assert_close(pair.refiner(0).weight, parts["refine"].weight, atol=1e-6, rtol=2**-11)


def test_weights_are_kept_in_half_precision_and_statistics_in_full(tmp_path: Path) -> None:
    norm = torch.nn.BatchNorm2d(3)
    norm.running_var.fill_(1e6)  # beyond half precision
    export_weights(norm, tmp_path / "norm.pt")
    assemble({"coarse": tmp_path / "norm.pt"}, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert state["coarse.weight"].dtype == torch.float16
    assert state["coarse.running_var"].tolist() == [1e6] * 3


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    module = torch.nn.Conv2d(1, 1, 3)
    export_weights(module, tmp_path / "one.pt")
    export_weights(module, tmp_path / "another.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_a_network_of_two_levels_is_written_once(tmp_path: Path) -> None:
    module = torch.nn.Conv2d(64, 64, 3)
    export_weights(module, tmp_path / "network.pt")
    assemble({"coarse": tmp_path / "network.pt"}, tmp_path / "one.pt")
    assemble({"coarse": tmp_path / "network.pt", "refine": tmp_path / "network.pt"}, tmp_path / "two.pt")
    assert (tmp_path / "two.pt").stat().st_size < 1.1 * (tmp_path / "one.pt").stat().st_size
    state = torch.load(tmp_path / "two.pt", weights_only=True)
    assert torch.equal(state["coarse.weight"], module.weight.detach().half())
    assert torch.equal(state["refine.weight"], state["coarse.weight"])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"refine\.pt is missing; run the recipe's stages first"):
        assemble({"refine": tmp_path / "refine.pt"}, tmp_path / "model.pt")


def test_a_stage_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"stage coarse needs .*stage\.yaml"):
        run_stages(tmp_path, [{"overlay": "coarse"}], tmp_path)


def test_the_last_epoch_counts(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for epoch in (9, 10, 2):
        torch.save({"trainer": {}}, tmp_path / f"checkpoint_epoch={epoch}.pt")
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint_epoch=10.pt"


@pytest.mark.slow
def test_killed_training_goes_on_from_its_last_epoch(tmp_path: Path, data: Path) -> None:
    """Kill -9 in the middle; the second run begins where the last checkpoint was and finishes."""
    configs = find_bundle("skin_lesion_dis") / "configs"
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", f"['{configs}/stage.yaml','{configs}/coarse.yaml']",
        "--data_dir", str(data), "--dataset_name", "folder", "--work_dir", str(tmp_path / "work"), "--epochs", "40", *SMALL,
    ]  # fmt: skip
    stage = tmp_path / "work" / "coarse"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command, cwd=configs.parent, env=environment, **quiet)
    try:
        deadline = time.monotonic() + 120
        while (latest := latest_checkpoint(stage)) is None or int(latest.stem.split("=")[1]) < 2:
            assert first.poll() is None, "training ended before it was killed"
            assert time.monotonic() < deadline, "no checkpoint within two minutes"
            time.sleep(0.05)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    reached = int(latest_checkpoint(stage).stem.split("=")[1])  # type: ignore[union-attr]
    assert reached < 40

    command[command.index("--epochs") + 1] = str(reached + 2)
    second = subprocess.run(command, cwd=configs.parent, env=environment, capture_output=True, text=True, check=True)
    output = second.stdout + second.stderr
    assert f"Epoch[{reached + 1}] Complete" in output
    assert f"Epoch[{reached}] Complete" not in output
    state = torch.load(tmp_path / "work" / "coarse.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.slow
def test_the_whole_recipe_trains_a_bundle_that_segments(tmp_path: Path, data: Path) -> None:
    """`monai-dis train` on a generated data set, then `monai-dis segment` with what came out."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "monai_dis"]
    trained = tmp_path / "trained"
    sets = [item for key, value in (("full_size", "[128,128]"), ("epochs", "1"), ("steps_per_epoch", "2"), ("workers", "0"))
            for item in ("--set", f"{key}={value}")]  # fmt: skip
    subprocess.run(
        [*program, "train", "-b", "skin_lesion_dis", "--data", str(data), "--dataset", "folder", "-o", str(trained), *sets],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert {path.name for path in (trained / "work").glob("*.pt")} == {
        "coarse_fold0.pt", "coarse_fold1.pt", "coarse_fold2.pt", "coarse.pt", "refine.pt",
    }  # fmt: skip
    image = data / "images" / "disc0.png"
    subprocess.run(
        [*program, "segment", str(image), "-b", str(trained), "-o", str(tmp_path / "out"), "--windows", "3", *sets[:2]],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert Image.open(tmp_path / "out" / "disc0_seg.png").size == (64, 72)


@pytest.mark.slow
def test_a_stage_runs_on_several_processes(tmp_path: Path, data: Path) -> None:
    """The multi-GPU overlay, here with two processes on the CPU, leaves the weights and checkpoints of one."""
    configs = find_bundle("skin_lesion_dis") / "configs"
    files = ",".join(f"'{configs}/{name}.yaml'" for name in ("stage", "coarse", "multi_gpu_train"))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run",
        "--config_file", f"[{files}]", "--data_dir", str(data), "--dataset_name", "folder", "--work_dir", str(tmp_path),
        "--epochs", "2", *SMALL,
    ]  # fmt: skip
    subprocess.run(
        command, cwd=configs.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True
    )
    state = torch.load(tmp_path / "coarse.pt", weights_only=True)
    assert state and not any(key.startswith("module.") for key in state)
    assert sorted(path.name for path in (tmp_path / "coarse").glob("*.pt")) == [
        "checkpoint_epoch=1.pt",
        "checkpoint_epoch=2.pt",
    ]
