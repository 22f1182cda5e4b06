"""The data sets themselves, where there is a copy: ``MONAI_DIS_DATA`` names a folder with ``ph2``, ``drive``, ...

The others are ``stare``, ``chase_db1`` and ``idrid``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_dis.data import LoadLabeld, ReadImaged, read_dataset

ROOT = Path(os.environ.get("MONAI_DIS_DATA", "")) if os.environ.get("MONAI_DIS_DATA") else None

pytestmark = pytest.mark.skipif(ROOT is None or not ROOT.is_dir(), reason="MONAI_DIS_DATA names no folder of data sets")


@pytest.mark.parametrize(
    ("name", "folder", "least", "foreground"),
    [
        # Foreground as published: 32 % lesion, 7 to 9 % vessels.
        pytest.param("ph2", "ph2", 40, (0.02, 0.99), id="ph2"),
        pytest.param("drive", "drive", 8, (0.05, 0.13), id="drive"),
        pytest.param("stare", "stare", 3, (0.04, 0.13), id="stare"),
        pytest.param("chase_db1", "chase_db1", 6, (0.04, 0.10), id="chase_db1"),
        pytest.param("retina", "", 17, (0.04, 0.13), id="retina"),
    ],
)
def test_splits_and_foreground(name: str, folder: str, least: int, foreground: tuple[float, float]) -> None:
    assert ROOT is not None
    if folder and not (ROOT / folder).is_dir():
        pytest.skip(f"no {folder} in MONAI_DIS_DATA")
    data = read_dataset(name, ROOT / folder)
    assert len(data.val) >= least
    assert len(data.train) > 2 * len(data.val)
    for item in data.datalist("train")[:3]:
        loaded = LoadLabeld("label", num_classes=2)(ReadImaged("image", expected_channels=3)(item))
        assert loaded["image"].shape[1:] == loaded["label"].shape[1:]
        low, high = foreground
        assert low < float(loaded["label"].float().mean()) < high


def test_idrid_has_four_lesion_types() -> None:
    assert ROOT is not None
    if not (ROOT / "idrid").is_dir():
        pytest.skip("no idrid in MONAI_DIS_DATA")
    data = read_dataset("idrid", ROOT / "idrid")
    assert len(data.val) >= 12
    assert len(data.train) > 2 * len(data.val)
    item = next(item for item in data.datalist("all") if item["name"] == "IDRiD_43")
    loaded = LoadLabeld("label", num_classes=5)(ReadImaged("image", expected_channels=3)(item))
    assert loaded["image"].shape == (3, 4288, 2848)
    assert loaded["label"].shape == (4, 4288, 2848)
    # This image has no haemorrhage; its microaneurysms are small.
    shares = loaded["label"].float().mean(dim=(1, 2)).tolist()
    assert shares[1] == 0
    assert 0 < shares[0] < 0.01
    assert 0 < shares[2] < 0.1
