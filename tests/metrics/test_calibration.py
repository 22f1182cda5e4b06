"""Expected calibration error, worked out by hand and compared with MONAI's."""

from __future__ import annotations

import monai.metrics
import pytest
import torch

from monai_dis.metrics import expected_calibration_error


def test_two_bins_by_hand() -> None:
    # Four pixels of probability 0.2, one of them foreground: gap .05. Six of 0.9, three foreground: gap .4.
    probabilities = torch.tensor([0.2] * 4 + [0.9] * 6).reshape(1, 1, 2, 5)
    truth = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0, 0, 0]).reshape(1, 1, 2, 5)
    expected = 0.4 * 0.05 + 0.6 * 0.4
    assert expected_calibration_error(probabilities, truth, bins=2) == pytest.approx(expected)


def test_several_classes_compare_the_likeliest_with_its_hits() -> None:
    # Confidence 0.6, 0.6, 0.8, 0.8; right, wrong, right, right: gaps of 0.1 and 0.2 in two bins of five.
    probabilities = torch.tensor([[0.6, 0.3, 0.1, 0.8], [0.3, 0.6, 0.1, 0.1], [0.1, 0.1, 0.8, 0.1]]).reshape(1, 3, 2, 2)
    truth = torch.tensor([0, 2, 2, 0]).reshape(1, 1, 2, 2)
    assert expected_calibration_error(probabilities, truth, bins=5) == pytest.approx((0.1 + 0.2) / 2)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not() -> None:
    truth = torch.tensor([0, 1, 1, 0]).reshape(1, 1, 2, 2)
    assert expected_calibration_error(truth.float(), truth) == 0.0
    assert expected_calibration_error(1 - truth.float(), truth) == 1.0


@pytest.mark.skipif(not hasattr(monai.metrics, "CalibrationErrorMetric"), reason="MONAI has it from 1.6 on")
def test_one_channel_equals_monai() -> None:
    probabilities = torch.rand(1, 1, 16, 16, 4)
    truth = (torch.rand(1, 1, 16, 16, 4) < probabilities**2).long()
    metric = monai.metrics.CalibrationErrorMetric(num_bins=15)
    metric(y_pred=probabilities, y=truth)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(float(metric.aggregate()), abs=1e-6)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        expected_calibration_error(torch.rand(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="bins must be 1 or more"):
        expected_calibration_error(torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), bins=0)
