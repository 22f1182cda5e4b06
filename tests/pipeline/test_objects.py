"""The list of objects in an answer, by a table that a person can check."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_dis.pipeline.object_table import write_object_table
from monai_dis.pipeline.objects import objects_of
from monai_dis.pipeline.predict import Prediction, Stopwatch
from monai_dis.pipeline.window_outlines import Box

#    columns 0 1 2 3 4 5 6 7
ROWS = """
            1 1 . . . . . 2
            1 . . . . . . .
            . . . . 1 . . .
            . . . . . 1 . .
            . . . . . . . .
            2 2 2 . . . . .
"""


def prediction(labels: torch.Tensor, spacing: float, boxes: tuple[Box, ...] = (), **more: torch.Tensor) -> Prediction:
    affine = torch.diag(torch.tensor([spacing] * 3 + [1.0]))
    return Prediction(
        labels=labels[None], num_classes=3, image=MetaTensor(torch.zeros(1, *labels.shape), affine=affine),
        prepared_size=tuple(labels.shape), statistics={}, boxes=boxes, watch=Stopwatch(torch.device("cpu")),
        peak_memory_bytes=0, **more,
    )  # fmt: skip


def table() -> torch.Tensor:
    rows = [[0 if word == "." else int(word) for word in line.split()] for line in ROWS.strip().splitlines()]
    return torch.tensor(rows, dtype=torch.uint8).T.contiguous()  # (columns, rows)


def test_objects_of_a_picture() -> None:
    doubt = torch.zeros(8, 6)
    doubt[0, 5], doubt[7, 0] = 0.6, 0.25
    window = Box(1, np.array([[3.5, 1.5], [3.5, 4.5], [6.5, 1.5], [6.5, 4.5]]))
    objects = objects_of(
        prediction(table(), 1.0, (window,), uncertainty=doubt), {1: "haemorrhage", 2: "exudate"}, picture=True
    )
    found = objects.found
    assert [(each.name, each.size, each.voxel, each.quadrant, each.refined) for each in found] == [
        ("exudate", 3.0, (1.0, 5.0), "lower left", False),
        ("haemorrhage", 3.0, (0.3, 0.3), "upper left", False),
        ("haemorrhage", 2.0, (4.5, 2.5), "upper right", True),  # its pixels touch by a corner
        ("exudate", 1.0, (7.0, 0.0), "upper right", False),
    ]
    assert [each.certainty for each in found] == [0.8, 1.0, 1.0, 0.75]
    assert [each.id for each in found] == [1, 2, 3, 4] and {each.unit for each in found} == {"pixels"}
    assert objects.counts == {"haemorrhage": 2, "exudate": 2} and objects.about == "the middle of the image"
    assert objects.quadrants == {
        "exudate": {"lower left": 1, "upper right": 1},
        "haemorrhage": {"upper left": 1, "upper right": 1},
    }


def test_objects_of_a_volume() -> None:
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    labels[1:4, 2:4, 5] = 1
    objects = objects_of(prediction(labels, 10.0), {1: "cyst"})
    (found,) = objects.found
    assert objects.counts == {"cyst": 1, "2": 0} and set(objects.to_dict()) == {"object_counts", "objects"}
    assert (found.size, found.unit) == (6.0, "mL")
    assert found.voxel == (2.0, 2.5, 5.0) and found.ras_mm == (20.0, 25.0, 50.0)
    assert "certainty" not in found.to_dict() and "quadrant" not in found.to_dict()


def test_quadrants_meet_at_the_fovea_or_the_disc_where_there_is_one() -> None:
    labels = torch.zeros(2, 8, 6, dtype=torch.uint8)
    labels[0, 1, 1] = labels[0, 4, 4] = 1
    labels[1, 5:7, 4:6] = (
        1  # the middle of the disc is (5.5, 4.5): all that is left of the image's middle or not is upper left of it
    )
    layered = prediction(labels, 1.0)
    layered = replace(layered, labels=labels, image=MetaTensor(torch.zeros(1, 8, 6), affine=torch.eye(4)))
    by_disc = objects_of(layered, {1: "drusen", 2: "Optic_Disc"}, picture=True)
    assert by_disc.about == "Optic_Disc" and by_disc.quadrants is not None
    assert by_disc.quadrants["drusen"] == {"upper left": 2}
    by_middle = objects_of(layered, {1: "drusen", 2: "vessel"}, picture=True)
    assert by_middle.about == "the middle of the image" and by_middle.quadrants is not None
    assert by_middle.quadrants["drusen"] == {"lower right": 1, "upper left": 1}


def test_nothing_found_and_too_much() -> None:
    nothing = objects_of(prediction(torch.zeros(4, 4, dtype=torch.uint8), 1.0), {1: "a"})
    assert nothing.found == () and nothing.counts == {"a": 0, "2": 0}
    dots = torch.zeros(20, 20, dtype=torch.uint8)
    dots[::2, ::2] = 1
    many = objects_of(prediction(dots, 1.0), {1: "a"}, picture=True, most=7)
    assert len(many.found) == 7 and many.counts["a"] == 100
    assert many.quadrants == {"a": dict.fromkeys(("lower left", "lower right", "upper left", "upper right"), 25)}


def test_the_table_has_a_row_for_each_object(tmp_path: Path) -> None:
    """Of images with a place in space and of pictures, whose columns differ; what is not known stays empty."""
    picture = objects_of(prediction(table(), 1.0), {1: "haemorrhage", 2: "exudate"}, picture=True).to_dict()
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    labels[1:4, 2:4, 5] = 1
    volume = objects_of(prediction(labels, 10.0), {1: "cyst"}).to_dict()
    entries: list[dict[str, Any]] = [
        {"input": "/in/eye, left.png", **picture},
        {"input": "/in/bad.png", "error": "no"},
        {"input": "a", "study": "b", **volume},
    ]
    file = write_object_table(entries, tmp_path / "objects.csv")
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["study"], row["class"], row["size"], row["unit"], row["quadrant"]) for row in rows] == [
        ("eye, left.png", "exudate", "3.0", "pixels", "lower left"),
        ("eye, left.png", "haemorrhage", "3.0", "pixels", "upper left"),
        ("eye, left.png", "haemorrhage", "2.0", "pixels", "upper right"),
        ("eye, left.png", "exudate", "1.0", "pixels", "upper right"),
        ("b", "cyst", "6.0", "mL", ""),
    ]
    assert [rows[-1][key] for key in ("column", "row", "slice", "ras_x_mm", "certainty", "refined")] == [
        "2.0", "2.5", "5.0", "20.0", "", "no",
    ]  # fmt: skip
