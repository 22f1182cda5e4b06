"""The recipe for lesions, whole, on a miniature: out-of-fold answers, gate, realised gain, scorer, and the pair that comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_layouts import make_lesions
from monai.bundle import ConfigParser
from monai.bundle.scripts import run

from monai_dis.bundle import load_weights
from monai_dis.inferers import Budget

CONFIGS = Path(__file__).parents[2] / "bundles" / "fundus_lesions_dis" / "configs"
# at 1/4 no multiple of what the networks take
SIZE = [392, 248]


@pytest.mark.slow
def test_the_whole_recipe_leaves_a_pair_that_scores_by_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_lesions(tmp_path / "data", SIZE)
    monkeypatch.chdir(CONFIGS.parent)
    work, model = tmp_path / "work", tmp_path / "model.pt"
    run(
        config_file=str(CONFIGS / "train.yaml"), data_dir=str(data), work_dir=str(work), model_file=str(model),
        full_size=SIZE, steps_per_epoch=2, epochs=1, device="$torch.device('cpu')",
    )  # fmt: skip

    gains = [torch.as_tensor(np.load(file)) for file in sorted((work / "gain_out_of_fold").iterdir())]
    assert len(gains) == len(list((work / "refined_out_of_fold").iterdir())) == 6
    assert {tuple(gain.shape) for gain in gains} == {(1, 98, 62)}

    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.yaml")
    network = load_weights(parser.get_parsed_content("network_def"), model)
    result = (
        parser.get_parsed_content("inferer").with_budget(Budget(operations=0.3)).run(torch.rand(1, 3, *SIZE), network)
    )

    assert result.statistics.windows_refined == 1
    assert result.statistics.operations <= 0.3 * result.statistics.operations_full_pass
    assert result.labels().shape == (1, 4, *SIZE)
