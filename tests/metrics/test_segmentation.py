"""Metrics of one image, worked out by hand.

The squares below are 4 x 4 pixels in an 8 x 12 image::

    truth  rows 2-5, columns 2-5        pred  the same, two columns to the right

        columns 0 1 2 3 4 5 6 7
        row 2   . . T T B B P P         T truth only, P prediction only, B both
        row 3   . . T T B B P P
        row 4   . . T T B B P P
        row 5   . . T T B B P P
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_dis.metrics import METRICS, mean_metrics, overlapping_metrics, segmentation_metrics


def _square(row: int, column: int, value: int = 1) -> torch.Tensor:
    labels = torch.zeros(8, 12, dtype=torch.uint8)
    labels[row : row + 4, column : column + 4] = value
    return labels


EMPTY = torch.zeros(8, 12, dtype=torch.uint8)
TRUTH = _square(2, 2)
# 16 pixels each, 8 in common, 96 in all.
SHIFTED = {"dice": 16 / 32, "iou": 8 / 24, "precision": 0.5, "recall": 0.5, "accuracy": 80 / 96}
# A square's edge is 12 pixels. Of the prediction's, (2, 4), (5, 4) lie on the truth's edge; (2, 5), (5, 5) too; (3,
# 4), (4, 4) are 1 from it; column 7 (4 pixels) is 2 away, (2, 6), (5, 6) 1 away. All are within 2, none of column 7
# within 1. By symmetry the truth's: 8 of 12 within 1.
ALL_GOOD = {
    "dice": 1.0,
    "iou": 1.0,
    "precision": 1.0,
    "recall": 1.0,
    "accuracy": 1.0,
    "hd95": 0.0,
    "surface_dice": 1.0,
    "volume_error": 0.0,
}


@pytest.mark.parametrize(
    ("pred", "truth", "tolerance", "expected"),
    [
        pytest.param(TRUTH, TRUTH, 2.0, ALL_GOOD, id="perfect"),
        pytest.param(EMPTY, EMPTY, 2.0, ALL_GOOD, id="both-empty"),
        pytest.param(
            EMPTY,
            TRUTH,
            2.0,
            {**dict.fromkeys(METRICS, 0.0), "accuracy": 80 / 96, "hd95": math.nan, "volume_error": -1.0},
            id="nothing-found",
        ),
        pytest.param(
            TRUTH,
            EMPTY,
            2.0,
            {**dict.fromkeys(METRICS, 0.0), "accuracy": 80 / 96, "hd95": math.nan, "volume_error": math.nan},
            id="nothing-there",
        ),
        pytest.param(_square(2, 4), TRUTH, 2.0, {**SHIFTED, "hd95": 2.0, "surface_dice": 1.0}, id="shifted-by-two"),
        pytest.param(_square(2, 4), TRUTH, 1.0, {**SHIFTED, "hd95": 2.0, "surface_dice": 16 / 24}, id="tolerance-one"),
        # No pixel in common; four of twelve edge pixels are 6 columns from the other square, so the 95th percentile is
        # 6.
        pytest.param(
            _square(2, 8),
            TRUTH,
            2.0,
            {
                "dice": 0.0,
                "iou": 0.0,
                "precision": 0.0,
                "recall": 0.0,
                "accuracy": 64 / 96,
                "hd95": 6.0,
                "surface_dice": 0.0,
            },
            id="apart",
        ),
    ],
)
def test_one_class(pred: torch.Tensor, truth: torch.Tensor, tolerance: float, expected: dict[str, float]) -> None:
    result = segmentation_metrics(pred, truth, 2, tolerance=tolerance)
    assert list(result) == list(METRICS)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_spacing_gives_distances_in_its_unit() -> None:
    # Two columns are 2 x 0.5; the tolerance is in the same unit.
    result = segmentation_metrics(_square(2, 4), TRUTH, 2, spacing=(3.0, 0.5), tolerance=0.5)
    assert result["hd95"] == pytest.approx(1.0)
    assert result["surface_dice"] == pytest.approx(16 / 24)


def test_several_classes_and_their_mean() -> None:
    # Class 1 is shifted by two columns, class 2 is missed, class 3 is in neither.
    truth, pred = torch.cat([TRUTH, _square(2, 2, 2)]), torch.cat([_square(2, 4), EMPTY])
    result = segmentation_metrics(pred, truth, 4)
    assert result["dice_1"] == pytest.approx(0.5)
    assert (result["dice_2"], result["dice_3"]) == (0.0, 1.0)
    assert result["dice"] == pytest.approx(0.5)
    assert math.isnan(result["hd95_2"])
    assert result["hd95"] == pytest.approx((2.0 + 0.0) / 2)  # over the classes where it is defined
    assert set(result) == {*METRICS, *(f"{name}_{index}" for name in METRICS for index in (1, 2, 3))}


def test_without_a_number_of_classes_those_seen_count() -> None:
    truth = torch.cat([TRUTH, _square(2, 2, 2)])
    assert segmentation_metrics(truth * 0, truth) == pytest.approx(
        segmentation_metrics(truth * 0, truth, 3), nan_ok=True
    )
    assert segmentation_metrics(EMPTY, EMPTY) == ALL_GOOD


def test_a_channel_axis_and_three_dimensions() -> None:
    truth = torch.zeros(1, 8, 8, 8)
    truth[:, 2:6, 2:6, 2:6] = 1
    pred = truth.roll(1, dims=3)
    result = segmentation_metrics(pred, truth, 2, spacing=(1.0, 1.0, 4.0), tolerance=1.0)
    assert result["dice"] == pytest.approx(2 * 48 / 128)
    assert result["hd95"] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("pred", "classes", "message"),
    [
        pytest.param(EMPTY.T, 2, r"the prediction is \(12, 8\), the truth \(8, 12\)", id="shapes"),
        pytest.param(EMPTY, 1, "counts the background too, so it is 2 or more", id="one-class"),
        pytest.param(EMPTY + 2, 2, "class 2 is there, but num_classes is 2", id="class-beyond"),
    ],
)
def test_what_does_not_fit(pred: torch.Tensor, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation_metrics(pred, TRUTH, classes)


def test_mean_over_images_leaves_out_what_is_undefined() -> None:
    rows = [{"dice": 0.5, "hd95": 2.0, "x": math.nan}, {"dice": 1.0, "hd95": math.nan, "x": math.nan}]
    mean = mean_metrics(rows)
    assert (mean["dice"], mean["hd95"]) == (0.75, 2.0)
    assert math.isnan(mean["x"])
    assert mean_metrics([]) == {}


@pytest.mark.parametrize(("rows", "error"), [(2, -0.5), (4, 0.0), (5, 0.25)])
def test_volume_error_is_signed_and_a_share_of_the_truth(rows: int, error: float) -> None:
    pred = torch.zeros_like(TRUTH)
    pred[2 : 2 + rows, 2:6] = 1
    assert segmentation_metrics(pred, TRUTH, 2)["volume_error"] == error


def test_thin_structures_of_a_large_image_are_measured_whole() -> None:
    # The size of a CHASE_DB1 photograph with 40 lines, shifted by one pixel.
    truth = torch.zeros(960, 999, dtype=torch.uint8)
    truth[::24, 5:-5] = 1
    result = segmentation_metrics(truth.roll(1, dims=0), truth, 2)
    assert result["dice"] == 0.0
    assert result["hd95"] == 1.0
    assert result["surface_dice"] == 1.0


def test_numpy_arrays_are_taken_too() -> None:
    assert segmentation_metrics(np.asarray(TRUTH), np.asarray(TRUTH), 2) == ALL_GOOD  # type: ignore[arg-type]


def test_classes_that_overlap_are_measured_each_by_its_own_mask() -> None:
    # Class 2 covers class 1 and is found; an index map could not hold both.
    truth = torch.stack([TRUTH, TRUTH, EMPTY])
    pred = torch.stack([_square(2, 4), TRUTH, EMPTY])
    result = overlapping_metrics(pred, truth)
    assert set(result) == {*METRICS, *(f"{name}_{index}" for name in METRICS for index in (1, 2, 3))}
    assert (result["dice_1"], result["dice_2"], result["dice_3"]) == (0.5, 1.0, 1.0)
    assert result["hd95"] == pytest.approx((2.0 + 0.0 + 0.0) / 3)


def test_one_class_alone_is_the_same_either_way() -> None:
    assert overlapping_metrics(_square(2, 4)[None], TRUTH[None]) == segmentation_metrics(_square(2, 4), TRUTH, 2)


def test_masks_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"the prediction is \(1, 8, 12\), the truth \(2, 8, 12\)"):
        overlapping_metrics(TRUTH[None], torch.stack([TRUTH, TRUTH]))
