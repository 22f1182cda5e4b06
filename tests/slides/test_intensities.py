"""A bundle's preparation by regions is that of the whole picture: exactly on a small slide, within a hundredth on a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import (
    Compose,
    EnsureTyped,
    NormalizeIntensityd,
    RandGaussianNoised,
    Resized,
    ScaleIntensityd,
    ScaleIntensityRanged,
)
from slide_files import spots, write_tiff

from monai_dis.data import ReadImaged
from monai_dis.errors import ImageError
from monai_dis.slides.intensities import prepare_by_region
from monai_dis.slides.opening import open_slide
from monai_dis.slides.overview import read_overview


def prepare(path: Path, *transforms: Any) -> Any:
    pyramid = open_slide(path)
    return prepare_by_region(Compose([ReadImaged("image"), *transforms]), pyramid, read_overview(pyramid))


def coloured(columns: int, rows: int) -> np.ndarray:
    picture = spots(columns, rows)
    picture[..., 1] //= 2
    picture[..., 2] = np.random.default_rng(2).integers(0, 90, picture.shape[:2])
    return picture


@pytest.mark.parametrize(
    "transforms",
    [
        pytest.param([NormalizeIntensityd("image", channel_wise=True), EnsureTyped("image")], id="each-channel"),
        pytest.param([NormalizeIntensityd("image")], id="all-channels"),
        pytest.param([ScaleIntensityd("image", minv=-1, maxv=1)], id="range"),
        pytest.param([ScaleIntensityRanged("image", 20, 200, 0, 1, clip=True), NormalizeIntensityd("image", channel_wise=True)],
                     id="one-after-the-other"),
    ],
)  # fmt: skip
def test_a_small_slide_is_prepared_as_in_memory(transforms: list[Any], tmp_path: Path) -> None:
    picture = coloured(1300, 700)
    values = torch.from_numpy(picture.transpose(2, 1, 0).copy()).float()
    truth = Compose(transforms)({"image": values.clone()})["image"]
    ours = prepare(write_tiff(tmp_path / "a.tif", picture), *transforms)
    assert torch.allclose(ours(values[:, 400:600, 100:300]), truth[:, 400:600, 100:300], atol=1e-4)


@pytest.mark.parametrize("levels", [1, 4])
def test_a_large_slide_is_measured_on_its_overview_and_on_samples(levels: int, tmp_path: Path) -> None:
    picture = coloured(6000, 4000)
    path = write_tiff(tmp_path / "a.tif", picture, levels=levels)
    found = prepare(path, NormalizeIntensityd("image", channel_wise=True)).description
    assert found["mean"] == pytest.approx(picture.mean((0, 1)), rel=0.01)
    assert found["deviation"] == pytest.approx(picture.std((0, 1)), rel=0.01)


def test_what_falls_away_is_said(tmp_path: Path) -> None:
    ours = prepare(write_tiff(tmp_path / "a.tif", spots(300, 200)), Resized("image", (64, 64)))
    assert "Resized" in ours.description["left_out"]
    assert ours(torch.ones(3, 5, 6)).shape == (3, 5, 6)


@pytest.mark.parametrize("transform", [RandGaussianNoised("image"), NormalizeIntensityd("image", nonzero=True)])
def test_what_needs_the_whole_picture_is_refused(transform: Any, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=type(transform).__name__):
        prepare(write_tiff(tmp_path / "a.tif", spots(300, 200)), transform)
