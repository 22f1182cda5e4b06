"""The recipe for volumes, whole, on a miniature: out-of-fold answers, calibration, gate, realised gain, scorer, curves and clicks."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_dis.bundle import find_bundle, load_bundle
from monai_dis.engines.train import train_bundle
from monai_dis.inferers import Budget

# The deepest maps of the coarse network have 3 x 3 x 3 voxels: at 2 x 2 x 2 the CPU's bfloat16 gradient reads memory that nobody wrote.
SIZE = [96, 96, 96]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight volumes of 0.625 mm with a bright ball each."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.arange(n) for n in SIZE], indexing="ij")
    for index in range(8):
        ball = sum((axis - rng.integers(n // 3, 2 * n // 3)) ** 2 for axis, n in zip(grid, SIZE, strict=True)) < 18**2
        for part, values in (("images", 40 * ball + rng.integers(0, 20, SIZE)), ("labels", ball)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            image = nib.Nifti1Image(values.astype(np.uint8), np.diag([-0.625, -0.625, 0.625, 1]))
            nib.save(image, folder / part / f"ball{index}.nii.gz")
    return folder


@pytest.mark.slow
def test_the_whole_recipe_leaves_a_bundle_that_knows_what_to_expect(data: Path, tmp_path: Path) -> None:
    small = {"full_size": SIZE, "steps_per_epoch": 2, "epochs": 1}
    source, trained = find_bundle("left_atrium_mr_dis"), tmp_path / "trained"

    model = train_bundle(source, data_dir=data, output_dir=trained, overrides=small)

    work = trained / "work"
    assert (
        len(list((work / "gain_out_of_fold").iterdir())) == len(list((work / "calibrated_out_of_fold").iterdir())) == 6
    )
    curves = json.loads((model.parent / "gain_curves.json").read_text())
    assert list(curves) == ["1"]
    assert all(curve["gains"] == sorted(curve["gains"]) for curve in curves.values())

    bundle = load_bundle(trained)
    assert bundle.part("inferer").levels[1].expected_gain.gains == tuple(curves["1"]["gains"])
    image = bundle.part("preprocessing")({"image": str(data / "images" / "ball0.nii.gz")})["image"]
    result = bundle.part("inferer").with_budget(Budget.auto()).run(image[None], bundle.part("network"))
    for window in result.windows:
        assert bundle.part("inferer").levels[window.level].expected_gain.of(window.score) >= 0.002
    assert result.labels().shape == (1, 1, *SIZE)
    assert (model.parent / "clicks.pt").is_file()
