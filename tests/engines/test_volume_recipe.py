"""The recipe for volumes, whole, on a miniature: out-of-fold answers, calibration, realised gain, scorer, curves and clicks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_dis.bundle import find_bundle, load_bundle
from monai_dis.engines.train import train_bundle
from monai_dis.inferers import Budget


@dataclass(frozen=True)
class Miniature:
    """Volumes that a bundle's recipe can learn from in seconds."""

    bundle: str
    # The deepest maps of the coarse network have 3 voxels along each axis: at 2 x 2 x 2 the CPU's bfloat16 gradient reads
    # memory that nobody wrote.
    size: tuple[int, int, int]
    affine: tuple[float, float, float]
    classes: int


MINIATURES = [
    Miniature("left_atrium_mr_dis", (96, 96, 96), (-0.625, -0.625, 0.625), 1),
    Miniature("abdominal_organs_mr_dis", (96, 96, 24), (-1.25, 1.25, 7.7), 4),
]


def write_balls(miniature: Miniature, folder: Path) -> None:
    """Eight volumes with a bright ball of each class."""
    rng = np.random.default_rng(0)
    millimetres = np.abs(miniature.affine)
    grid = np.meshgrid(*[np.arange(n) * mm for n, mm in zip(miniature.size, millimetres, strict=True)], indexing="ij")
    extent = np.array(miniature.size) * millimetres
    for index in range(8):
        label = np.zeros(miniature.size, np.uint8)
        for value in range(1, miniature.classes + 1):
            centre = extent * rng.uniform(1 / 3, 2 / 3, 3)
            ball = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) < (extent.min() / 5) ** 2
            label[ball] = value
        image = (40 * label + rng.integers(0, 20, miniature.size)).astype(np.uint8)
        for part, values in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            affine = np.diag([*miniature.affine, 1])
            nib.save(nib.Nifti1Image(values, affine), folder / part / f"ball{index}.nii.gz")


@pytest.mark.slow
@pytest.mark.parametrize("miniature", MINIATURES, ids=lambda miniature: miniature.bundle)
def test_the_whole_recipe_leaves_a_bundle_that_knows_what_to_expect(miniature: Miniature, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_balls(miniature, data)
    small = {"full_size": list(miniature.size), "steps_per_epoch": 2, "epochs": 1}
    source, trained = find_bundle(miniature.bundle), tmp_path / "trained"

    model = train_bundle(source, data_dir=data, output_dir=trained, overrides=small)

    work = trained / "work"
    assert (
        len(list((work / "gain_out_of_fold").iterdir())) == len(list((work / "calibrated_out_of_fold").iterdir())) == 6
    )
    curves = json.loads((model.parent / "gain_curves.json").read_text())
    assert list(curves) == ["1"] and set(curves["1"]) == {"scores", "gains", "floor"}
    assert all(curve["gains"] == sorted(curve["gains"]) for curve in curves.values())

    bundle = load_bundle(trained)
    assert bundle.part("inferer").levels[1].expected_gain.gains == tuple(curves["1"]["gains"])
    image = bundle.part("preprocessing")({"image": str(data / "images" / "ball0.nii.gz")})["image"]
    result = bundle.part("inferer").with_budget(Budget.auto()).run(image[None], bundle.part("network"))
    for window in result.windows:
        expected = bundle.part("inferer").levels[window.level].expected_gain
        assert expected.of(window.score) >= expected.floor == curves["1"]["floor"]
    assert result.labels().shape == (1, 1, *miniature.size)
    assert (model.parent / "clicks.pt").is_file()
