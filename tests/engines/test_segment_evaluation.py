"""The evaluation against figures worked out by hand or by other means."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_dis.bundle import load_bundle
from monai_dis.errors import DataError, ImageError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of 40 x 32: in one the label is the bright half, in the other it covers half of the bright half only."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    picture = np.full((32, 40, 3), 20, dtype=np.uint8)
    picture[:, :20] = 230
    label = np.zeros((32, 40), dtype=np.uint8)
    for name, right in (("same", 20), ("half", 10)):
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        label[:] = 0
        label[:, :right] = 1
        Image.fromarray(label).save(folder / "labels" / f"{name}.png")
    return folder


def evaluate(bundle: Path, data: Path, output: Path, **overrides: Any) -> dict[str, Any]:
    given = {"data_dir": str(data), "output_dir": str(output), "device": "cpu", **overrides}
    results: dict[str, Any] = load_bundle(bundle, "evaluate", overrides=given).run()
    return results


def test_metrics_are_those_of_the_files_own_grid(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    results = evaluate(tiny_bundle, data, tmp_path / "out", mode="sliding-window")
    rows = {row["name"]: row for row in results["rows"]}
    same, half = rows["same"], rows["half"]
    assert [same[key] for key in ("dice", "iou", "precision", "recall", "accuracy", "hd95", "surface_dice")] == [
        1,
        1,
        1,
        1,
        1,
        0,
        1,
    ]
    # 20 columns found, 10 of them true, of 40
    assert half["dice"] == pytest.approx(2 * 10 / 30)
    assert half["iou"] == pytest.approx(10 / 20)
    assert (half["precision"], half["recall"], half["accuracy"]) == pytest.approx((0.5, 1.0, 0.75))
    assert half["hd95"] == 10
    summary = results["arms"][0]["summary"]
    assert summary["dice"] == {
        "mean": pytest.approx(5 / 6), "std": pytest.approx(math.sqrt(2) / 6), "median": pytest.approx(5 / 6), "count": 2,
    }  # fmt: skip
    assert summary["fraction_of_sliding_window"]["mean"] == 1


def test_files_and_answer_agree(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    results = evaluate(tiny_bundle, data, tmp_path / "out", windows=2)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == json.loads(json.dumps(results))
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["half", "same"]
    assert [float(row["dice"]) for row in table] == [row["dice"] for row in results["rows"]]
    assert [int(row["windows_refined"]) for row in table] == [2, 2]
    assert not (tmp_path / "out" / "curve.png").exists()


def test_the_evaluation_takes_the_way_of_segment(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    images = [str(path) for path in sorted((data / "images").iterdir())]
    report = load_bundle(
        tiny_bundle, overrides={"image_files": images, "output_dir": str(tmp_path / "seg"), "windows": 3}
    ).run()
    results = evaluate(tiny_bundle, data, tmp_path / "out", windows=3)
    for entry, row in zip(report["images"], results["rows"], strict=True):
        for key in ("windows_refined", "windows_total", "operations", "fraction_of_full_pass"):
            assert entry[key] == row[key]
        found, truth = (
            np.asarray(Image.open(path)) > 0 for path in (entry["output"], data / "labels" / Path(entry["input"]).name)
        )
        assert row["dice"] == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_budgets_give_an_arm_each_and_a_curve(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    results = evaluate(tiny_bundle, data, tmp_path / "out", budgets=[0.0, 0.3, 2.0])
    assert [arm["name"] for arm in results["arms"]] == ["dis 0", "dis 0.3", "dis 2"]
    costs = [arm["summary"]["fraction_of_full_pass"]["mean"] for arm in results["arms"]]
    # the coarse pass is 1/64; windows of 1/16 fill up 0.3; everywhere is one full pass and the coarse one
    assert costs == pytest.approx([1 / 64, 1 / 64 + 4 / 16, 1 + 1 / 64])
    assert (tmp_path / "out" / "curve.png").is_file()


def test_arms_are_compared_image_by_image_and_shown(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    results = evaluate(tiny_bundle, data, tmp_path / "out", budgets=[0.0, 2.0])
    first, last = results["arms"]
    assert "against" not in first
    dice = {row["name"]: row["dice"] for row in results["rows"] if row["arm"] == "dis 0"}
    later = {row["name"]: row["dice"] for row in results["rows"] if row["arm"] == "dis 2"}
    compared = last["against"]["measures"]["dice"]
    assert last["against"]["arm"] == "dis 0" and compared["images"] == 2
    assert compared["difference"] == pytest.approx(sum(later[name] - dice[name] for name in dice) / 2)
    assert compared["better"] == sum(later[name] > dice[name] for name in dice)

    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"{compared['difference']:+.4f}" in page and f"{last['summary']['dice']['mean']:.4f}" in page
    assert page.count("data:image/jpeg;base64,") == 3  # the curve and a picture of each case
    for name in ("half", "same"):
        with Image.open(tmp_path / "out" / "pictures" / f"{name}.png") as picture:
            assert picture.width == 3 * 480 + 2 * 4


def test_a_split_takes_its_own_cases(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    (data / "splits.json").write_text(json.dumps({"train": ["same"], "val": ["half"]}))
    names = {
        split: [row["name"] for row in evaluate(tiny_bundle, data, tmp_path / split, split=split)["rows"]]
        for split in ("train", "val", "all")
    }
    assert names == {"train": ["same"], "val": ["half"], "all": ["half", "same"]}


def test_a_bad_case_is_reported_and_the_others_are_measured(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 40), 7, dtype=np.uint8)).save(data / "labels" / "half.png")
    with pytest.raises(
        ImageError, match=r"(?s)1 of 2 images.*half\.png holds 7, and the classes are 0 to 1; .* --labels 7=1 "
    ):
        evaluate(tiny_bundle, data, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert results["arms"][0]["images"] == 1
    assert results["arms"][0]["summary"]["dice"]["count"] == 1


@pytest.fixture
def overlapping_bundle(tiny_bundle: Path) -> Path:
    """The bundle with two overlapping classes, both of which are what is bright."""
    config = tiny_bundle / "configs" / "evaluate.yaml"
    config.write_text(config.read_text().replace("out_channels: 1", "out_channels: 2"))
    state = torch.load(tiny_bundle / "models" / "model.pt", weights_only=True)
    torch.save({name: torch.cat([value, value]) for name, value in state.items()}, tiny_bundle / "models" / "model.pt")
    return tiny_bundle


def _with_masks(data: Path) -> list[dict[str, Any]]:
    """In "same" both classes are the bright half; in "half" the second covers a half of it, and so of the first."""
    same, half = (str(data / "labels" / f"{name}.png") for name in ("same", "half"))
    return [
        {"image": str(data / "images" / f"{name}.png"), "label": {"first": same, "second": second}, "name": name}
        for name, second in (("same", None), ("half", half))
    ]


def test_overlapping_classes_are_measured_each_by_its_own_mask(
    overlapping_bundle: Path, data: Path, tmp_path: Path
) -> None:
    results = evaluate(overlapping_bundle, data, tmp_path / "out", data_dir=_with_masks(data), mode="sliding-window")
    same, half = results["rows"]
    assert (same["dice_1"], same["dice_2"], same["dice"]) == (1.0, 0.0, 0.5)
    assert (half["dice_1"], half["dice_2"]) == pytest.approx((1.0, 2 * 10 / 30))


def test_overlapping_classes_are_measured_against_an_index_too(
    overlapping_bundle: Path, data: Path, tmp_path: Path
) -> None:
    same, half = evaluate(overlapping_bundle, data, tmp_path / "out", mode="sliding-window")["rows"][::-1]
    assert (same["dice_1"], same["dice_2"]) == (1.0, 0.0)  # the files hold class 1 alone
    assert (half["dice_1"], half["dice_2"]) == pytest.approx((2 * 10 / 30, 0.0))


def test_masks_of_other_classes_than_the_bundles(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the label has the 2 classes first, second, the network knows 1"):
        evaluate(tiny_bundle, data, tmp_path / "out", data_dir=_with_masks(data))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        pytest.param(
            {"mode": "coarse", "budgets": [0.1]}, "budgets make no sense for the mode coarse", id="budgets-for-coarse"
        ),
        pytest.param({"dataset_name": "nonsense"}, "no reader for a data set 'nonsense'", id="unknown-data-set"),
        pytest.param({"split": "test"}, "parts train, val and all", id="unknown-split"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    overrides: dict[str, Any], sentence: str, tiny_bundle: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        evaluate(tiny_bundle, data, tmp_path / "out", **overrides)
