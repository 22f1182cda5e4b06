"""One temperature for all classes, on made answers whose true probabilities are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.engines.temperature import calibrate_temperature, fit_scale
from monai_dis.errors import DataError
from monai_dis.networks import CalibratedLogits


@given(scale=st.floats(0.05, 8))
def test_the_truth_is_found_again(scale: float) -> None:
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    assert fit_scale(logits, (scale * logits).softmax(dim=1)) == pytest.approx(scale, rel=1e-6)


def test_logits_that_know_nothing_lose_their_say() -> None:
    assert fit_scale(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.5]])) == 0.01


def items(count: int) -> list[dict[str, Any]]:
    """Logits of three classes that are twice as sure as they should be."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        true = 1.5 * torch.randn(3, 60, 50, generator=generator)
        label = torch.multinomial(true.softmax(0).flatten(1).T, 1, generator=generator).reshape(1, 60, 50)
        made.append(
            {"name": f"case{index}", "coarse": 8 * torch.atanh((2 * true / 8).clamp(-0.999, 0.999)), "label": label}
        )
    return made


def test_maps_and_weights_are_calibrated_and_the_likeliest_class_stays(tmp_path: Path) -> None:
    network = CalibratedLogits(torch.nn.Identity(), 3)

    calibrate_temperature(network, items(8), tmp_path / "maps", tmp_path / "calibration.pt")

    state = torch.load(tmp_path / "calibration.pt", weights_only=True)
    assert state["scale"].tolist() == pytest.approx([0.5] * 3, abs=0.03) and not state["bias"].any()
    written = torch.as_tensor(np.load(tmp_path / "maps" / "case3.npy"))
    before = items(8)[3]["coarse"]
    assert torch.equal(written, network(before[None])[0])
    assert torch.equal(written.argmax(0), before.argmax(0))


def test_no_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no case"):
        calibrate_temperature(CalibratedLogits(torch.nn.Identity(), 3), [], tmp_path, tmp_path / "c.pt")
