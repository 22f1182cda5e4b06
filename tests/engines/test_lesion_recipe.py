"""The recipe for lesions, whole, on a miniature: out-of-fold answers, gate, realised gain, scorer, and the pair that comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import run
from PIL import Image

from monai_dis.bundle import load_weights
from monai_dis.inferers import Budget

CONFIGS = Path(__file__).parents[2] / "bundles" / "fundus_lesions_dis" / "configs"
# at 1/4 no multiple of what the networks take
SIZE = [392, 248]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures with four discs of each of four classes."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    shape = SIZE[::-1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    for index in range(8):
        image, mask = rng.integers(40, 80, (*shape, 3)), np.zeros(shape)
        for lesion in np.repeat(np.arange(1, 5), 4):
            disc = (y - rng.integers(shape[0])) ** 2 + (x - rng.integers(shape[1])) ** 2 < (4 * lesion) ** 2
            mask[disc] = lesion
            image[disc] += [30 * lesion, 40, 10 * lesion]
        for part, values in (("images", image), ("masks", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / part / f"eye{index}.png")
    return folder


@pytest.mark.slow
def test_the_whole_recipe_leaves_a_pair_that_scores_by_gain(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
