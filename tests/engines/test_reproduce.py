"""The whole experiment on miniature data sets: trained, evaluated, drawn, and gone on with."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_dis.data import read_dataset
from monai_dis.engines.reproduce import Experiment, reproduce, run_experiment
from monai_dis.engines.reproduce.cases import choose_picture, read_cases
from monai_dis.engines.reproduce.parts import image_preparation
from monai_dis.errors import DataError, OutputError

pytestmark = pytest.mark.slow

FILES = ("results.json", "results.csv", "cases.csv", "results.md", "dice_vs_np.png", "dice_vs_operations.png")
TINY = {"hi_size": 128, "divisors": (2, 4), "baseline_scales": (1, 2), "effort": 1e-6}


def disk(size: tuple[int, int], number: int) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - size[0] // 2 - number) ** 2 + (columns - size[1] // 2 + 2 * number) ** 2 < (
        min(size) // 4 + number
    ) ** 2


def picture(mask: np.ndarray, path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 30, (*mask.shape, 3))
    Image.fromarray((np.where(mask[..., None], 70, 170) + noise).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    """PH2 in the simple layout: eleven dark disks, no two images of one size."""
    root = tmp_path_factory.mktemp("ph2")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    names = [f"IMD{k:03d}" for k in range(11)]
    for k, name in enumerate(names):
        mask = disk((96 + k, 140 - k), k)
        picture(mask, root / "images" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"{name}.png")
    (root / "splits.json").write_text(json.dumps({"train": names[:8], "val": names[8:]}))
    return root


@pytest.fixture(scope="module")
def finished(lesions, tmp_path_factory):
    output = tmp_path_factory.mktemp("poster")
    experiment = Experiment(dataset="ph2", **TINY, least_steps=14)
    return experiment, output, run_experiment(experiment, lesions, output, device="cpu")


def test_everything_is_written(finished):
    experiment, output, results = finished
    for name in (*FILES, "stages.png"):
        assert (output / name).stat().st_size > 200, name
    assert not list(output.rglob(".part-*"))
    content = json.loads((output / "results.json").read_text())
    assert content == json.loads(json.dumps(results.to_dict()))
    assert content["cases"] == ["IMD008", "IMD009", "IMD010"]
    assert [(row["arm"], row["number"]) for row in content["rows"]] == [
        (arm.kind, arm.number) for arm in experiment.arms()
    ]
    assert list((output / "work" / "refine_2").glob("events.out.tfevents*")), "TensorBoard"


def test_networks_learn(finished):
    """A dark disk is easy: what is trained and evaluated must find it, at every stage."""
    _, _, results = finished
    assert results.row("coarse", 8).dice > 0.7
    assert results.row("baseline", 2).dice > 0.75
    assert results.row("dis", 2).dice > 0.7


def test_cost_is_what_it_must_be(finished):
    """N_p windows of N_p squared are one N_p-th of a full pass, and the coarse pass on an eighth of the side one in 64."""
    _, _, results = finished
    for number in (2, 4):
        row = results.row("dis", number)
        assert row.windows == number
        assert row.windows_total == number**2
        assert row.fraction_of_full_pass == pytest.approx(1 / number + 1 / 64, rel=0.02)
        assert row.operations == results.row("oracle", number).operations == results.row("random", number).operations
    assert results.row("baseline", 2).fraction_of_full_pass == pytest.approx(1 / 4, rel=0.02)


def test_the_oracle_captures_all(finished):
    _, output, results = finished
    with (output / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(results.rows)
    for row in results.of_kind("oracle"):
        assert row.share_of_oracle_gain in (None, 1.0)


def test_a_second_run_keeps_what_is_finished(finished, lesions):
    experiment, output, results = finished
    weights = {path: path.stat().st_mtime_ns for path in (output / "work").glob("*.pt")}
    (output / "work" / "cases" / "IMD009.json").write_text('{"cut off')
    again = run_experiment(experiment, lesions, output, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in (output / "work").glob("*.pt")} == weights
    assert [row.dice for row in again.rows] == [row.dice for row in results.rows]


def test_other_settings_need_another_folder(finished, lesions):
    _, output, _ = finished
    with pytest.raises(OutputError, match="choose another output folder"):
        run_experiment(Experiment(dataset="ph2", **TINY, least_steps=15), lesions, output, device="cpu")


def test_data_must_be_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        reproduce("ph2", tmp_path / "nowhere", tmp_path / "out", quick=True, device="cpu")
    assert not (tmp_path / "out").exists()


def test_kitti_in_the_official_layout(tmp_path):
    """Wide street scenes whose labels are ids: vehicles are 26 to 31, the road is 7, a licence plate's -1 is stored as 255."""
    images, labels = (tmp_path / "kitti" / "training" / name for name in ("image_2", "semantic"))
    images.mkdir(parents=True)
    labels.mkdir()
    for k in range(8):
        mask = disk((60, 200), k)
        picture(mask, images / f"{k:06d}_10.png")
        ids = np.where(mask, 26 + k % 6, 7).astype(np.uint8)
        ids[:3, :3] = 255
        Image.fromarray(ids).save(labels / f"{k:06d}_10.png")
    settings = {"hi_size": 64, "divisors": (2,), "coarse_scale": 4, "baseline_scales": (1,)}
    experiment = Experiment(dataset="kitti", **settings, effort=1e-6, least_steps=8)
    items = read_dataset("kitti", tmp_path / "kitti").datalist("val")
    for case in read_cases(items, image_preparation(experiment)):
        # MONAI reads columns first.
        vehicles = disk((60, 200), int(case.name[:6])).T
        assert np.array_equal(case.truth[0].numpy(), vehicles)
        assert case.image.shape == (1, 3, 64, 64)
        back = case.on_file_grid(case.truth_hi * 8.0 - 4.0)[0].numpy() > 0
        # The way to the square and back blurs the edge of a small disk but does not move it.
        assert 2 * (back & vehicles).sum() / (back.sum() + vehicles.sum()) > 0.95
        np.testing.assert_allclose(np.argwhere(back).mean(0), np.argwhere(vehicles).mean(0), atol=0.4)

    results = run_experiment(experiment, tmp_path / "kitti", tmp_path / "out", device="cpu")
    assert results.cases == [item["name"] for item in items]
    assert len(items) == 2
    assert all((tmp_path / "out" / name).is_file() for name in (*FILES, "stages.png"))


@pytest.mark.parametrize(
    ("dataset", "files", "expected"),
    [
        pytest.param(
            "retina", ["01_test.jpg", "im0044.jpg", "Image_03L.jpg", "Image_03R.jpg"], "Image_03L.jpg", id="chase-alone"
        ),
        pytest.param("retina", ["01_test.tif", "im0044.ppm.gz"], None, id="none-that-may-be-shown"),
        pytest.param("ph2", ["IMD002.bmp"], "IMD002.bmp", id="first"),
    ],
)
def test_the_picture_is_one_that_may_be_shown(dataset, files, expected):
    chosen = choose_picture([{"image": f"/data/{name}"} for name in files], dataset)
    assert (chosen and Path(chosen["image"]).name) == expected
