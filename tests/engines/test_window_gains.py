"""What windows gained, counted by hand, and the curve that is fitted to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_dis.engines.gain_curves import fit_gain_curves, read_gain_curve
from monai_dis.engines.window_gains import WindowGain, fit_expected_gain, window_gains
from monai_dis.errors import BundleError, DataError
from monai_dis.inferers import ExpectedGain, IterativeInferer
from monai_dis.networks import TwoStageNet


class Constant(nn.Module):
    """The same logits everywhere."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial)."""
        shape = (len(x), len(self.logits), *x.shape[2:])
        return self.logits.reshape(1, -1, *[1] * (x.ndim - 2)).expand(shape).clone()


def truth() -> Tensor:
    """8 x 8 pixels, class 1 in a quarter of the first window of 4 x 4 and in all of the last."""
    label = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    label[..., :2, :2] = 1
    label[..., 4:, 4:] = 1
    return label


def gains_of(network: TwoStageNet, label: Tensor, **options: str) -> list[float]:
    inferer = IterativeInferer(4, 4, 0, levels=[2, 1], mode="constant", merge="replace", selection="ranked", **options)
    gains = window_gains(inferer.run(torch.zeros(1, 1, 8, 8), network), label)
    assert [g.level for g in gains] == [1] * 4
    return [g.gain for g in gains]


def test_gain_of_one_class() -> None:
    """From one half everywhere, an error of a quarter, to foreground everywhere, an error of the share of background."""
    network = TwoStageNet(Constant(0.0), Constant(200.0))
    assert gains_of(network, truth()) == pytest.approx([0.25 - 0.75, 0.25 - 1, 0.25 - 1, 0.25])


def test_gain_of_exclusive_classes() -> None:
    network = TwoStageNet(Constant(0.0, 0.0), Constant(0.0, 200.0))
    assert gains_of(network, truth()) == pytest.approx([0.25 - 0.75, 0.25 - 1, 0.25 - 1, 0.25])


def test_gain_of_overlapping_classes() -> None:
    """Both classes are foreground in the last window; the second class alone is refined, to foreground."""
    network = TwoStageNet(Constant(0.0, 0.0), Constant(0.0, 200.0))
    label = truth().expand(1, 2, 8, 8).clone()
    label[:, 0] = 0
    assert gains_of(network, label, activation="sigmoid") == pytest.approx([0.25 - 0.75, 0.25 - 1, 0.25 - 1, 0.25])


def test_the_fitted_curve_is_the_isotonic_one() -> None:
    """Scores .2 and .3 gain 3 and 1: what never falls gives both the mean."""
    gains = [WindowGain(0, 1, s, g) for s, g in ((0.1, 0.0), (0.2, 0.03), (0.3, 0.01), (0.4, 0.05))]
    curve = fit_expected_gain(gains)
    assert list(curve.scores) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert list(curve.gains) == pytest.approx([0.0, 0.02, 0.02, 0.05])


def test_equal_scores_count_together() -> None:
    gains = [WindowGain(0, 1, s, g) for s, g in ((0.5, 0.0), (0.5, 0.02), (0.7, 0.03))]
    assert list(fit_expected_gain(gains).gains) == pytest.approx([0.01, 0.03])


def test_the_floor_is_the_average_in_which_harm_counts_for_nothing() -> None:
    gains = [WindowGain(0, 1, n / 10, g) for n, g in enumerate((-0.04, 0.0, 0.01, 0.02, 0.03, 0.06))]
    assert fit_expected_gain(gains).floor == pytest.approx(0.02)


def test_where_nothing_is_gained_the_floor_is_that_of_a_level_that_knows_nothing() -> None:
    assert fit_expected_gain([WindowGain(0, 1, 0.5, -0.1)]).floor == ExpectedGain((0.0,), (0.0,)).floor


def test_many_windows_make_a_short_curve() -> None:
    gains = [WindowGain(0, 1, i / 1000, i / 5000) for i in range(1000)]
    curve = fit_expected_gain(gains, points=5)
    assert len(curve.scores) == 5
    assert curve.of(0.3217) == pytest.approx(0.3217 / 5, abs=1e-3)


def test_nothing_to_fit_is_said() -> None:
    with pytest.raises(DataError, match="there are none, so give a larger budget"):
        fit_expected_gain([])


def test_a_curve_is_read_back_and_its_absence_is_said(tmp_path: Path) -> None:
    file = tmp_path / "curves.json"
    file.write_text('{"1": {"scores": [0.0, 0.5], "gains": [0.0, 0.25]}}')
    assert read_gain_curve(file, 1).of(0.25) == 0.125
    for path, level in ((file, 2), (tmp_path / "none.json", 1)):
        with pytest.raises(BundleError, match=f"no curve of expected gain for level {level}"):
            read_gain_curve(path, level)


def test_curves_are_fitted_with_the_networks_that_did_not_see_the_cases(tmp_path: Path) -> None:
    """Fold 0 has refine weights that answer foreground, fold 1 background: the windows of each gain by the weights of their own fold."""
    network = TwoStageNet(Constant(0.0), Constant(0.0))
    folds = []
    for fold, logit in enumerate((200.0, -200.0)):
        for part, value in (("coarse", 0.0), ("refine", logit)):
            torch.save({"logits": torch.tensor([value])}, tmp_path / f"{part}_fold{fold}.pt")
        parts = {part: tmp_path / f"{part}_fold{fold}.pt" for part in ("coarse", "refine")}
        label = torch.full((1, 8, 8), 1 - fold)
        folds.append((parts, [{"image": torch.zeros(1, 8, 8), "label": label}]))
    inferer = IterativeInferer(4, 4, 0, levels=[2, 1], mode="constant", merge="replace", selection="ranked")

    fit_gain_curves(network, folds, inferer, tmp_path / "curves.json")

    assert read_gain_curve(tmp_path / "curves.json", 1).of(0.5) == pytest.approx(0.25)
    with pytest.raises(DataError, match="there is no case"):
        fit_gain_curves(network, [], inferer, tmp_path / "none.json")
    assert [file.name for file in tmp_path.glob("*.json")] == ["curves.json"]
    assert not list(tmp_path.glob("*.fold.pt"))
