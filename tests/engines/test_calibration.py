"""Calibration on made answers whose true probabilities are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.engines.calibration import calibrate, fit_logistic
from monai_dis.errors import DataError
from monai_dis.networks import CalibratedLogits


@given(scale=st.floats(0.1, 3), bias=st.floats(-4, 4))
def test_the_truth_is_found_again(scale: float, bias: float) -> None:
    values = torch.linspace(-3, 3, 50, dtype=torch.float64)
    total = torch.full_like(values, 1e6)

    got = fit_logistic(values, torch.sigmoid(scale * values + bias) * total, total)

    assert got == pytest.approx((scale, bias), abs=1e-3)


@given(scale=st.floats(0.1, 3), bias=st.floats(-1, 1))
def test_without_a_bias_the_cut_stays_and_the_scale_is_the_likeliest(scale: float, bias: float) -> None:
    values = torch.linspace(-3, 3, 50, dtype=torch.float64)
    total = torch.full_like(values, 1e6)
    positive = torch.sigmoid(scale * values + bias) * total

    got, zero = fit_logistic(values, positive, total, with_bias=False)

    assert zero == 0.0

    def cost(w: float) -> float:
        return float((total * torch.nn.functional.softplus(w * values) - positive * w * values).sum())

    assert cost(got) <= min(cost(0.99 * got), cost(1.01 * got))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_alike_stays_finite(share: float) -> None:
    values = torch.linspace(-1, 1, 9, dtype=torch.float64)

    scale, bias = fit_logistic(values, torch.full_like(values, 100 * share), torch.full_like(values, 100))

    assert scale >= 0.01 and abs(bias) < 50


def items(count: int) -> list[dict[str, Any]]:
    """Logits that are twice as sure as they should be; the second class is called three times too often beside."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        true = 1.5 * torch.randn(2, 60, 50, generator=generator)
        label = (torch.rand(2, 60, 50, generator=generator) < torch.sigmoid(true)).to(torch.uint8)
        raw = 2 * true
        raw[1] += float(np.log(3.0))
        made.append({"name": f"case{index}", "coarse": 8 * torch.atanh((raw / 8).clamp(-0.999, 0.999)), "label": label})
    return made


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_maps_and_weights_are_calibrated(weight: float, tmp_path: Path) -> None:
    network = CalibratedLogits(torch.nn.Identity(), 2)

    calibrate(network, items(8), tmp_path / "maps", tmp_path / "calibration.pt", positive_weight=weight)

    state = torch.load(tmp_path / "calibration.pt", weights_only=True)
    assert state["scale"].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    want = np.log(weight) + np.asarray([0.0, -0.5 * np.log(3.0)])
    assert state["bias"].tolist() == pytest.approx(want.tolist(), abs=0.08)
    written = torch.as_tensor(np.load(tmp_path / "maps" / "case3.npy"))
    assert torch.equal(written, network(items(8)[3]["coarse"][None])[0])


def test_labels_on_a_finer_grid_count_by_their_share(tmp_path: Path) -> None:
    fine = torch.zeros(1, 8, 8, dtype=torch.uint8)
    fine[:, ::2] = 1
    network = CalibratedLogits(torch.nn.Identity(), 1)

    calibrate(network, [{"name": "a", "coarse": torch.randn(1, 4, 4), "label": fine}], tmp_path, tmp_path / "c.pt")

    # every cell is half lesion, whatever its logit
    assert torch.sigmoid(network.bias).item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("cases", "words"),
    [([], "no case"), ([{**items(1)[0], "label": torch.zeros(3, 60, 50)}], "2 maps of logits and 3")],
)
def test_what_does_not_fit_is_refused(cases: list[dict[str, Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        calibrate(CalibratedLogits(torch.nn.Identity(), 2), cases, tmp_path, tmp_path / "c.pt")
