"""The list of objects in an answer, by a table that a person can check."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from monai_dis.pipeline.objects import objects_of, quadrants
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
    found = objects_of(
        prediction(table(), 1.0, (window,), uncertainty=doubt), {1: "haemorrhage", 2: "exudate"}, picture=True
    )
    assert [(each.name, each.size, each.voxel, each.quadrant, each.refined) for each in found] == [
        ("exudate", 3.0, (1.0, 5.0), "lower left", False),
        ("haemorrhage", 3.0, (0.3, 0.3), "upper left", False),
        ("haemorrhage", 2.0, (4.5, 2.5), "upper right", True),  # its pixels touch by a corner
        ("exudate", 1.0, (7.0, 0.0), "upper right", False),
    ]
    assert [each.certainty for each in found] == [0.8, 1.0, 1.0, 0.75]
    assert [each.id for each in found] == [1, 2, 3, 4] and {each.unit for each in found} == {"pixels"}
    assert quadrants(found) == {
        "exudate": {"lower left": 1, "upper right": 1},
        "haemorrhage": {"upper left": 1, "upper right": 1},
    }


def test_objects_of_a_volume() -> None:
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    labels[1:4, 2:4, 5] = 1
    (found,) = objects_of(prediction(labels, 10.0), {1: "cyst"})
    assert (found.size, found.unit) == (6.0, "mL")
    assert found.voxel == (2.0, 2.5, 5.0) and found.ras_mm == (20.0, 25.0, 50.0)
    assert "certainty" not in found.to_dict() and "quadrant" not in found.to_dict()


def test_nothing_found_and_too_much() -> None:
    assert objects_of(prediction(torch.zeros(4, 4, dtype=torch.uint8), 1.0), {1: "a"}) == []
    dots = torch.zeros(20, 20, dtype=torch.uint8)
    dots[::2, ::2] = 1
    assert len(objects_of(prediction(dots, 1.0), {1: "a"}, picture=True, most=7)) == 7
