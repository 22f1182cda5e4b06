"""The poster's settings, as values and as configs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from monai.bundle.config_parser import ConfigParser
from monai.losses import DiceFocalLoss
from monai.networks.nets import UNet
from PIL import Image

from monai_dis.engines.recipe import stage_name
from monai_dis.engines.reproduce.experiment import Arm, Experiment, epochs_of
from monai_dis.engines.reproduce.parts import CONFIGS, training_plan
from monai_dis.errors import DataError, DisError


@pytest.mark.parametrize(
    ("poster", "effort", "least", "steps", "expected"),
    [
        pytest.param(1000, 1.0, 0, 32, 1000, id="the-poster"),
        pytest.param(1000, 0.5, 600, 32, 500, id="half"),
        pytest.param(1000, 0.001, 600, 32, 19, id="least-steps"),
        pytest.param(200, 0.001, 1_000_000, 32, 200, id="least-steps-never-exceed-the-poster"),
        pytest.param(200, 2.0, 0, 32, 400, id="twice"),
        pytest.param(200, 1e-6, 0, 32, 1, id="one-at-least"),
    ],
)
def test_epochs(poster, effort, least, steps, expected):
    assert epochs_of(poster, effort, least, steps) == expected


def test_the_posters_sizes():
    assert {name: Experiment.of_poster(name).hi_size for name in ("ph2", "retina", "kitti")} == {
        "ph2": 768,
        "retina": 768,
        "kitti": 512,
    }
    assert Experiment.of_poster("ph2").effort == 1.0


def test_stages_have_names_of_their_own():
    names = [stage_name(stage) for stage in Experiment.of_poster("kitti").stages()]
    assert names == [
        "coarse_8",
        *(f"refine_{n}" for n in (16, 8, 4, 2)),
        "baseline_8",
        "baseline_4",
        "baseline_2",
        "baseline",
    ]


def test_arms_are_the_poster_and_its_rivals():
    arms = Experiment.of_poster("ph2", quick=True).arms()
    assert arms[0] == Arm("coarse", 8)
    assert [a for a in arms if a.kind == "dis"] == [Arm("dis", 2), Arm("dis", 4), Arm("dis", 8)]
    assert {a.kind for a in arms} == {"coarse", "dis", "random", "oracle", "baseline"}


def test_windows_must_fit():
    with pytest.raises(DisError, match="cannot be divided by 7"):
        Experiment(dataset="ph2", hi_size=768, divisors=(7,))
    with pytest.raises(DisError, match="effort must be above 0"):
        Experiment.of_poster("ph2", effort=0)
    with pytest.raises(DataError, match="choose among ph2, retina, kitti"):
        Experiment.of_poster("bowl")


@pytest.fixture
def data(tmp_path):
    """Five images of odd shapes with a disk each, in the simple layout."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    names = [f"case{k}" for k in range(5)]
    for k, name in enumerate(names):
        rows, columns = np.mgrid[: 90 + k, : 120 - k]
        disk = (rows - 45) ** 2 + (columns - 60) ** 2 < (20 + 3 * k) ** 2
        Image.fromarray(np.where(disk[..., None], 90, 180).astype(np.uint8).repeat(3, axis=2)).save(
            tmp_path / "images" / f"{name}.png"
        )
        Image.fromarray(disk.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "splits.json").write_text(json.dumps({"train": names[:4], "val": names[4:]}))
    return tmp_path


@pytest.mark.parametrize(
    ("overlay", "scale", "stored", "crop"),
    [
        pytest.param("coarse", 8, 101, 96, id="coarse-an-eighth-and-five-percent"),
        pytest.param("refine", 2, 768, 384, id="refine-half"),
        pytest.param("refine", 8, 768, 96, id="refine-eighth"),
        pytest.param("baseline", 1, 768, 768, id="baseline"),
        pytest.param("baseline", 4, 192, 192, id="baseline-quarter"),
    ],
)
def test_configs_are_the_posters_recipe(data, overlay, scale, stored, crop):
    config = ConfigParser()
    config.read_config([str(CONFIGS / "stage.yaml"), str(CONFIGS / f"{overlay}.yaml")])
    config.update({"dataset_name": "ph2", "data_dir": str(data), "scale": scale, "most_cases": 1})
    dataset = config.get_parsed_content("train_dataset")
    assert dataset[0]["image"].shape == (3, crop, crop)
    assert dataset[0]["label"].shape == (1, crop, crop)
    assert set(dataset[0]["label"].unique().tolist()) <= {0.0, 1.0}
    assert dataset._cache[0]["image"].shape[1:] == (stored, stored)
    assert config.get_parsed_content("epochs") == (200 if overlay == "coarse" else 1000)
    assert isinstance(config.get_parsed_content("loss"), DiceFocalLoss)
    network = config.get_parsed_content("network_def")
    assert isinstance(network, UNet)
    assert network.channels == [16, 32, 64, 128]


def test_plan_counts_what_networks_see(data):
    experiment = Experiment(
        dataset="ph2", hi_size=128, divisors=(2,), baseline_scales=(1, 2), effort=0.01, least_steps=1
    )
    plan = training_plan(experiment, data)
    # Four training cases are one step of four crops an epoch.
    assert plan["coarse_8"] == {"epochs": 8, "steps": 8, "megapixels": round(8 * 4 * 16**2 / 1e6, 3)}
    assert plan["refine_2"] == {"epochs": 10, "steps": 10, "megapixels": round(10 * 4 * 64**2 / 1e6, 3)}
    assert plan["baseline"] == {"epochs": 10, "steps": 10, "megapixels": round(10 * 4 * 128**2 / 1e6, 3)}
