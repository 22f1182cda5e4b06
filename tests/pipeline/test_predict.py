"""What a prediction keeps of the image that it was made for."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import AsDiscreted, Compose, NormalizeIntensityd

from monai_dis.data import ReadImaged, read_image
from monai_dis.errors import ImageError
from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.pipeline.modes import make_runner
from monai_dis.pipeline.predict import Prediction, Predictor


def predicted(path: Path, channels: int, dims: int) -> Prediction:
    """Segmented by a bundle whose preprocessing writes into what it reads."""
    network = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims](channels, 1, 1)
    runner = make_runner(network, IterativeInferer(roi_size=(8,) * dims, levels=[2, 1]), "dis", Budget(windows=1))
    preprocessing = Compose([ReadImaged(keys="image"), NormalizeIntensityd(keys="image", channel_wise=True)])
    postprocessing = Compose([AsDiscreted(keys="pred", threshold=0.0)])
    return Predictor(runner, network, preprocessing, postprocessing, torch.device("cpu"))(path)


def test_the_picture_is_kept_as_it_was_read(photo: Path) -> None:
    kept = predicted(photo, 3, 2).image

    assert torch.equal(kept.as_tensor().float(), read_image(photo).as_tensor())
    assert kept.dtype == torch.uint8
    assert kept.meta["spatial_shape"].tolist() == [96, 80]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param([-1000.0, 0.0, 1.0, 3000.0], torch.int16, id="hounsfield-units"),
        pytest.param([0.0, 0.25, 1.0, 2.0], torch.float32, id="fractions"),
        pytest.param([0.0, 1.0, 2.0, 40000.0], torch.float32, id="beyond-16-bits"),
    ],
)
def test_a_volume_is_kept_in_the_smallest_type_that_holds_it(
    values: list[float], dtype: torch.dtype, tmp_path: Path
) -> None:
    volume = np.random.default_rng(0).choice(np.asarray(values, np.float32), (10, 9, 8))
    volume.flat[:4] = values
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "ct.nii.gz")

    kept = predicted(tmp_path / "ct.nii.gz", 1, 3).image

    assert kept.dtype == dtype
    assert torch.equal(kept.as_tensor().float(), torch.as_tensor(volume)[None])
    assert np.array_equal(np.asarray(kept.affine), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_an_image_too_small_to_be_normalized_is_refused_in_a_sentence(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "small.nii.gz")
    halves = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.AvgPool3d(2), torch.nn.InstanceNorm3d(1))
    runner = make_runner(
        halves, IterativeInferer(roi_size=(2,) * 3, levels=[Level(1, divisible=1)]), "dis", Budget(windows=1)
    )
    predictor = Predictor(runner, halves, Compose([ReadImaged(keys="image")]), Compose([]), torch.device("cpu"))
    with pytest.raises(ImageError, match=r"small.nii.gz is too small .* 2 x 2 x 2 voxels"):
        predictor(tmp_path / "small.nii.gz")
