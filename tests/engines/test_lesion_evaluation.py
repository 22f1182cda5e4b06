"""Ways of finding lesions on two small pictures, against figures worked out by hand.

::

    columns 0-9, every row the same; two rows of 16

    first picture    "red": columns 0-3      "blue": columns 2-3, inside "red"
    second picture   "red": column 8         "blue": absent
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Activationsd, Compose, Invertd, Resized
from PIL import Image

from monai_dis.data import ReadImaged
from monai_dis.engines import LesionEvaluation
from monai_dis.engines.lesion_evaluation import way_of
from monai_dis.errors import DataError, ImageError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.pipeline.modes import make_runner
from monai_dis.pipeline.predict import Predictor

ROWS, COLUMNS = 2, 16
RED = {"first": [0, 1, 2, 3], "second": [8]}
BLUE = {"first": [2, 3], "second": None}


@pytest.fixture
def cases(tmp_path: Path) -> list[dict[str, Any]]:
    made = []
    for name in ("first", "second"):
        Image.fromarray(np.zeros((ROWS, COLUMNS, 3), np.uint8)).save(tmp_path / f"{name}.png")
        label: dict[str, str | None] = {}
        for lesion, columns in (("red", RED[name]), ("blue", BLUE[name])):
            label[lesion] = None
            if columns is not None:
                mask = np.zeros((ROWS, COLUMNS), np.uint8)
                mask[:, columns] = 1
                Image.fromarray(mask).save(tmp_path / f"{name}_{lesion}.png")
                label[lesion] = str(tmp_path / f"{name}_{lesion}.png")
        made.append({"image": str(tmp_path / f"{name}.png"), "label": label, "rule": "mask", "name": name})
    return made


def _map(red: Mapping[int, float], blue: Mapping[int, float]) -> torch.Tensor:
    """(2, columns, rows), as MONAI has pictures."""
    probabilities = torch.zeros(2, COLUMNS, ROWS)
    for channel, values in enumerate((red, blue)):
        for column, value in values.items():
            probabilities[channel, column] = value
    return probabilities


def good(case: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Half of the first red lesion with a false one, all of blue, nothing in the second picture."""
    if case["name"] == "first":
        return _map({0: 0.9, 1: 0.9, 12: 0.7}, {2: 0.8, 3: 0.8}), {"operations": 100, "seconds": {"a": 1.0, "b": 2.0}}
    return _map({}, {}), {"operations": 300, "seconds": 1.0}


def perfect(case: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    columns = (dict.fromkeys(part[case["name"]] or [], 1.0) for part in (RED, BLUE))
    return _map(*columns), {"operations": 1, "seconds": 1.0}


def evaluate(cases: list[dict[str, Any]], output: Path, **changes: Any) -> dict[str, Any]:
    given = {"ways": {"good": good, "perfect": perfect}, "class_names": ("red", "blue"), "edges": (5,), **changes}
    results: dict[str, Any] = LesionEvaluation(cases=cases, output_dir=output, **given).run()
    return results


def test_figures_by_hand(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    way, _ = evaluate(cases, tmp_path / "out")["ways"]
    red, blue = way["classes"]["red"], way["classes"]["blue"]
    # Of 5 red columns 2 are called first, then one false one, then all 32.
    assert red["average_precision"] == pytest.approx(2 / 5 * 1 + 3 / 5 * 5 / 32)
    assert red["pooled_dice"] == pytest.approx(2 * 2 / (5 + 3))
    assert red["mean_dice"] == pytest.approx((2 * 2 / (4 + 3) + 0) / 2)
    assert (red["lesion_recall"], red["lesion_precision"], red["false_positives_per_image"]) == (0.5, 0.5, 0.5)
    # 8 pixels in the first, 2 in the second
    assert (red["recall_below_5"], red["recall_from_5"]) == (0.0, 1.0)
    assert (red["lesions"], red["lesions_below_5"], red["lesions_from_5"]) == (2, 1, 1)
    assert [red[f"sensitivity_at_{rate}"] for rate in (1, 2, 4, 8)] == [0.5] * 4
    assert (blue["average_precision"], blue["pooled_dice"], blue["mean_dice"], blue["lesions"]) == (1, 1, 1, 1)
    assert way["mean"]["pooled_dice"] == pytest.approx((0.5 + 1) / 2)
    assert way["mean"]["recall_from_5"] == 1.0  # blue has no lesion of that size
    assert (way["images"], way["operations"]["mean"], way["seconds"]["median"]) == (2, 200, 2.0)


def test_files_and_answer_agree(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    results = evaluate(cases, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "froc.png", "lesions.csv", "lesions.json", "precision_recall.png",
    ]  # fmt: skip
    with (tmp_path / "out" / "lesions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["way"], row["class"]) for row in table] == [
        (way, label) for way in ("good", "perfect") for label in ("red", "blue", "mean")
    ]
    for row in table:
        way = next(way for way in results["ways"] if way["name"] == row["way"])
        figures = way["mean"] if row["class"] == "mean" else way["classes"][row["class"]]
        assert float(row["average_precision"]) == figures["average_precision"]
        assert float(row["operations"]) == way["operations"]["mean"]
    written = json.loads((tmp_path / "out" / "lesions.json").read_text())
    assert written["ways"][1]["mean"]["average_precision"] == 1.0
    assert written["settings"]["classes"] == ["red", "blue"]
    assert [(row["way"], row["name"], row["dice red"]) for row in written["rows"]] == [
        ("good", "first", pytest.approx(4 / 7)),
        ("good", "second", 0.0),
        ("perfect", "first", 1.0),
        ("perfect", "second", 1.0),
    ]


def test_the_table_has_mean_operations_and_median_seconds(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    evaluate([*cases, cases[1]], tmp_path / "out", ways={"good": good})
    with (tmp_path / "out" / "lesions.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    # 100, 300, 300 operations in 3, 1, 1 seconds
    assert (float(row["operations"]), float(row["seconds"])) == (pytest.approx(700 / 3), 1.0)


def test_progress_names_every_case_of_every_way(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate(cases, tmp_path / "out", on_image=lambda done, total, row: seen.append((done, total, row["name"])))
    assert seen == [(1, 4, "first"), (2, 4, "second"), (3, 4, "first"), (4, 4, "second")]


def test_a_threshold_is_where_pixels_are_called(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    red = evaluate(cases, tmp_path / "out", threshold=0.8)["ways"][0]["classes"]["red"]
    assert red["pooled_dice"] == pytest.approx(2 * 2 / (5 + 2))
    assert red["false_positives_per_image"] == 0


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(torch.zeros(2, ROWS, COLUMNS), r"\(2, 2, 16\), the truth \(2, 16, 2\)", id="another-grid"),
        pytest.param(torch.full((2, COLUMNS, ROWS), 3.0), "between 0 and 1, not 3 and 3", id="logits"),
        pytest.param(torch.zeros(3, COLUMNS, ROWS), "the prediction is", id="another-class"),
    ],
)
def test_a_bad_answer_is_reported_and_the_others_are_measured(
    answer: torch.Tensor, sentence: str, cases: list[dict[str, Any]], tmp_path: Path
) -> None:
    def bad(case: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        return (answer, {"operations": 1, "seconds": 1.0}) if case["name"] == "second" else perfect(case)

    with pytest.raises(ImageError, match=rf"(?s)1 of 4 images.*second could not be evaluated.*{sentence}"):
        evaluate(cases, tmp_path / "out", ways={"bad": bad, "perfect": perfect})
    ways = json.loads((tmp_path / "out" / "lesions.json").read_text())["ways"]
    assert [way["images"] for way in ways] == [1, 2]
    assert ways[0]["classes"]["red"]["lesions"] == 1  # of the first picture alone
    assert ways[0]["mean"]["pooled_dice"] == 1.0


def test_a_way_that_fails_everywhere_has_no_figures(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    def broken(case: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        raise RuntimeError("no network")

    with pytest.raises(ImageError, match="2 of 2 images could not be evaluated"):
        evaluate(cases, tmp_path / "out", ways={"broken": broken})
    (way,) = json.loads((tmp_path / "out" / "lesions.json").read_text())["ways"]
    assert set(way["mean"].values()) == {None}


def test_labels_of_other_classes(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the label of first has 2 masks, one is needed for each of red;"):
        evaluate(cases, tmp_path / "out", class_names=("red",))


@pytest.mark.parametrize("nothing", ["ways", "cases", "class_names"])
def test_nothing_to_evaluate(nothing: str, cases: list[dict[str, Any]], tmp_path: Path) -> None:
    given: dict[str, Any] = {"ways": {"good": good}, "cases": cases, "class_names": ("red", "blue")}
    with pytest.raises(DataError, match="nothing to evaluate: give one way"):
        LesionEvaluation(**{**given, nothing: ()}, output_dir=tmp_path)


def test_a_predictor_is_a_way_that_answers_on_the_grid_of_the_file(cases: list[dict[str, Any]]) -> None:
    network = torch.nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.tensor([0.0, 2.0]))
    runner = make_runner(network, IterativeInferer(roi_size=(1, 1), levels=[2, 1]), "coarse", Budget(windows=0))
    preprocessing = Compose([ReadImaged(keys="image"), Resized(keys="image", spatial_size=(8, 2))])
    probabilities = Compose(
        [Invertd(keys="pred", transform=preprocessing, orig_keys="image"), Activationsd(keys="pred", sigmoid=True)]
    )
    way = way_of(Predictor(runner, network, preprocessing, probabilities, torch.device("cpu")))

    answer, cost = way(cases[0])

    assert answer.shape == (2, COLUMNS, ROWS)
    assert answer[0].unique().tolist() == [0.5]
    assert answer[1].mean().item() == pytest.approx(0.8808, abs=1e-4)
    # 3 x 2 weights on the grid at half of 8 x 2
    assert cost["operations"] == 3 * 2 * 4 * 1
    assert set(cost["seconds"]) >= {"read", "prepare", "coarse", "finish"}
