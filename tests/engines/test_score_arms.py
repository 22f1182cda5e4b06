"""The honest picture: scores side by side with random choices and with the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_dis.bundle import load_bundle
from monai_dis.engines.evaluate import Evaluation
from monai_dis.engines.score_arms import COMPARED, share_of_oracle
from monai_dis.errors import DataError

PARTS = ("network", "inferer", "preprocessing", "postprocessing")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of a bright square with thin stripes beside it, which a coarse pass is sure to miss; one is wider than high."""
    folder = tmp_path / "data"
    for name, size in (("square", (64, 64)), ("wide", (48, 96))):
        label = np.zeros(size, dtype=np.uint8)
        label[8:24, 8:24] = 1
        label[30:45, 30:46:4] = 1
        for part, values in (("images", np.repeat(label[..., None] * 210 + 20, 3, 2)), ("masks", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(folder / part / f"{name}.png")
    return folder


def compare(bundle: Path, data: Path, output: Path, **how: Any) -> dict[str, Any]:
    loaded = load_bundle(bundle)
    parts = [loaded.part(name) for name in PARTS]
    return Evaluation(*parts, str(data), output, split="all", device="cpu", **how).run()


def test_every_score_stands_beside_the_oracle(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    scores = [name for name in COMPARED if name != "gain"]  # the small bundle has no scorer
    results = compare(tiny_bundle, data, tmp_path / "out", budgets=[0.1, 0.3], scores=scores)

    arms = {arm["name"]: arm for arm in results["arms"]}
    assert list(arms) == ["coarse", *[f"{score} {share}" for score in scores for share in ("0.1", "0.3")]]
    for share in ("0.1", "0.3"):
        dice = {score: arms[f"{score} {share}"]["summary"]["dice"]["mean"] for score in scores}
        assert dice["oracle"] == max(dice.values()) > dice["entropy"] > arms["coarse"]["summary"]["dice"]["mean"]
        assert arms[f"oracle {share}"]["share_of_oracle_gain"] == 1.0
        for score in scores:
            arm = arms[f"{score} {share}"]
            assert arm["summary"]["fraction_of_full_pass"]["mean"] <= float(share)
            assert arm["share_of_oracle_gain"] == share_of_oracle(
                dice[score], arms["coarse"]["summary"]["dice"]["mean"], dice["oracle"]
            )
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["arms"][-1]["share_of_oracle_gain"] == 1.0
    assert (tmp_path / "out" / "curve.png").is_file()


def test_what_cannot_be_compared_is_refused(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores to compare are entropy, .*oracle, not 'best'"):
        compare(tiny_bundle, data, tmp_path / "out", budgets=[0.1], scores=["best"])
    with pytest.raises(DataError, match="scores are compared at budgets"):
        compare(tiny_bundle, data, tmp_path / "out", scores=["entropy"])
    with pytest.raises(DataError, match="no sense for the mode coarse"):
        compare(tiny_bundle, data, tmp_path / "out", budgets=[0.1], scores=["entropy"], mode="coarse")


def test_no_share_where_there_is_nothing_to_gain() -> None:
    assert share_of_oracle(0.5, coarse=0.5, oracle=0.5) is None
    assert share_of_oracle(0.4, coarse=0.5, oracle=0.6) == pytest.approx(-1.0)
