"""Windows for training: every key is read at the same place, sharp where nothing is jittered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from monai_dis.errors import DataError
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.transforms import CentreWeightsd, RandWindowd, ResampleToGridd
from monai_dis.transforms.sample_affine import sample_affine


def ramp(height: int, width: int) -> torch.Tensor:
    """An image whose value is its own index."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width)


def item(height: int = 16, width: int = 16) -> dict[str, torch.Tensor]:
    image = ramp(height, width)
    return {"image": image, "label": (image > image.median()).float()}


def test_whole_window_is_the_image_itself() -> None:
    window = RandWindowd(["image", "label"], (16, 16), (16, 16), flip=False, jitter_prob=0.0)
    (out,) = window(item())
    torch.testing.assert_close(out["image"], item()["image"], atol=1e-3, rtol=0)
    assert torch.equal(out["label"], item()["label"])


def test_unjittered_windows_are_slices_of_the_image() -> None:
    window = RandWindowd(["image", "label"], (16, 16), (4, 4), flip=False, jitter_prob=0.0, num_samples=20)
    window.set_random_state(3)
    starts = set()
    for out in window(item()):
        row, column = divmod(round(out["image"][0, 0, 0].item()), 16)
        starts.add((row, column))
        torch.testing.assert_close(
            out["image"], item()["image"][:, row : row + 4, column : column + 4], atol=1e-3, rtol=0
        )
        assert torch.equal(out["label"], item()["label"][:, row : row + 4, column : column + 4])
    assert len(starts) > 5


def test_windows_of_a_coarser_level_equal_the_inferers_own_resampling() -> None:
    image = torch.rand(3, 32, 32)
    data = {"image": image, "label": torch.zeros(1, 32, 32)}
    (out,) = RandWindowd(["image", "label"], (32, 32), (16, 16), scales=[2], flip=False, jitter_prob=0.0)(data)
    torch.testing.assert_close(out["image"], resample(image[None], (16, 16))[0], atol=1e-5, rtol=0)


def test_every_key_moves_alike_under_jitter() -> None:
    """A disc in image, label and coarse logits stays the same disc in each of them."""
    y, x = np.mgrid[:64, :64]
    disc = torch.as_tensor(((y - 20) ** 2 + (x - 40) ** 2 < 120).astype(np.float32))[None]
    data = {"image": disc, "label": disc, "coarse": resample(disc[None], (16, 16))[0] * 16 - 8}
    window = RandWindowd(
        ["image", "label", "coarse"], (64, 64), (48, 48), coarse_key="coarse",
        rotate=3.0, shear=0.2, zoom=0.3, jitter_prob=1.0, num_samples=10,
    )  # fmt: skip
    window.set_random_state(0)
    for out in window(data):
        image, label, coarse = out["image"] > 0.5, out["label"] > 0.5, out["coarse"] > 0
        union = (image | label).sum().item()
        if union > 100:
            assert (image & label).sum().item() / union > 0.97
            assert (coarse & label).sum().item() / (coarse | label).sum().item() > 0.75


def test_windows_go_where_the_coarse_answer_is_uncertain() -> None:
    logits = torch.full((1, 8, 8), -9.0)
    logits[0, 6, 1] = 0.0  # the only uncertain cell: rows 48-55, columns 8-15 of 64
    data = {"image": ramp(64, 64), "label": torch.zeros(1, 64, 64), "coarse": logits}
    window = RandWindowd(
        ["image"], (64, 64), (16, 16), centre_key="centres", shares=[1.0], flip=False, jitter_prob=0.0, num_samples=30
    )
    window.set_random_state(1)
    item = CentreWeightsd(["uncertain"], "coarse")(data)
    starts = [divmod(round(out["image"][0, 0, 0].item()), 64) for out in window(item)]
    near = [abs(row + 8 - 52) <= 12 and abs(column + 8 - 12) <= 12 for row, column in starts]
    assert sum(near) >= 27


def test_windows_go_where_the_coarse_answer_is_surely_wrong() -> None:
    label = torch.zeros(1, 64, 64)
    label[0, 8:16, 40:48] = 1  # a structure that the coarse answer misses with confidence
    data = {"image": ramp(64, 64), "label": label, "coarse": torch.full((1, 8, 8), -9.0)}
    window = RandWindowd(
        ["image", "label"], (64, 64), (16, 16), centre_key="centres", shares=[0.0, 1.0], jitter_prob=0.0, num_samples=30
    )
    window.set_random_state(1)
    item = CentreWeightsd(["uncertain", "wrong"], "coarse")(data)
    assert sum(bool(out["label"].any()) for out in window(item)) >= 27


def test_shares_and_maps_must_be_as_many() -> None:
    window = RandWindowd(["image"], (64, 64), (16, 16), centre_key="centres", shares=[0.5])
    with pytest.raises(DataError, match="1 shares do not fit 2 maps"):
        window({"image": ramp(64, 64), "centres": torch.ones(2, 8, 8)})


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("dims", [2, 3])
def test_reading_a_part_is_reading_the_whole(dims: int, padding_mode: str) -> None:
    """Only the part under the window is touched; the answer is that of the plain affine map."""
    generator = np.random.default_rng(0)
    size, roi = (40, 31, 23)[:dims], (9, 7, 5)[:dims]
    x = torch.rand(2, *size)
    for _ in range(20):
        matrix, centre = generator.normal(0, 0.25, (dims, dims)), generator.uniform(-0.1, 1.1, dims)
        theta = np.concatenate([matrix[::-1, ::-1], (2 * centre - 1)[::-1, None]], 1)
        grid = F.affine_grid(torch.as_tensor(theta.copy()).float()[None], [1, 1, *roi], align_corners=False)
        want = F.grid_sample(x[None], grid, padding_mode=padding_mode, align_corners=False)[0]
        torch.testing.assert_close(sample_affine(x, matrix, centre, roi, padding_mode), want, atol=1e-4, rtol=0)


def test_labels_of_several_classes_stay_class_indices() -> None:
    label = torch.randint(0, 4, (1, 32, 32)).float()
    (out,) = RandWindowd(["label"], (32, 32), (32, 32), num_classes=4, flip=False, jitter_prob=0.0)({"label": label})
    assert torch.equal(out["label"], label)


def test_three_dimensions() -> None:
    image = torch.arange(8 * 8 * 8, dtype=torch.float32).reshape(1, 8, 8, 8)
    (out,) = RandWindowd(["image"], (8, 8, 8), (8, 8, 8), flip=False, jitter_prob=0.0)({"image": image})
    torch.testing.assert_close(out["image"], image, atol=1e-3, rtol=0)
    jitter = RandWindowd(
        ["image"], (8, 8, 8), (4, 4, 4), rotate=0.3, shear=0.1, zoom=0.2, jitter_prob=1.0, num_samples=3
    )
    assert [tuple(out["image"].shape) for out in jitter({"image": image})] == [(1, 4, 4, 4)] * 3


def test_axes_of_unequal_spacing_have_scales_of_their_own() -> None:
    image = torch.rand(1, 16, 16, 6)
    data = {"image": image, "label": (image > 0.5).float()}
    (out,) = RandWindowd(
        ["image", "label"], (16, 16, 6), (8, 8, 6), [(2, 2, 1)], label_factor=(2, 2, 1), flip=False, jitter_prob=0.0
    )(data)
    torch.testing.assert_close(out["image"], resample(image[None], (8, 8, 6))[0], atol=1e-5, rtol=0)
    assert torch.equal(out["label"], data["label"])


def test_what_turns_is_the_body_not_the_grid_of_voxels() -> None:
    """A ball in millimetres, whose voxels are four times as thick as wide, stays a ball however it is turned."""
    spacing = np.array([1.0, 1.0, 4.0])
    at = (np.stack(np.mgrid[:32, :32, :8], axis=-1) + 0.5) * spacing - 16
    ball = torch.as_tensor((np.linalg.norm(at, axis=-1) < 10).astype(np.float32))[None]
    window = RandWindowd(
        ["label"], (32, 32, 8), (32, 32, 8), rotate=1.5, spacing=spacing, flip=False, jitter_prob=1.0, num_samples=8
    )
    window.set_random_state(0)
    for out in window({"label": ball}):
        both, either = (out["label"] * ball).sum().item(), torch.maximum(out["label"], ball).sum().item()
        assert both / either > 0.8


def test_the_same_seed_draws_the_same_windows() -> None:
    window = RandWindowd(["image"], (16, 16), (8, 8), rotate=1.0, zoom=0.2, num_samples=4)
    runs = []
    for _ in range(2):
        window.set_random_state(7)
        runs.append(torch.stack([out["image"] for out in window(item())]))
    assert torch.equal(runs[0], runs[1])


@pytest.mark.parametrize("scale", [1, 2, 3.5])
def test_resample_to_grid_is_the_inferers_grid(scale: float) -> None:
    image = torch.rand(2, 21, 34)
    out = ResampleToGridd("image", scale)({"image": image})["image"]
    assert torch.equal(out, resample(image[None], grid_size((21, 34), scale))[0])


def test_a_pair_of_zooms_is_what_things_grow_by() -> None:
    """A disc of 40 pixels covers 40 times the square of the zoom, which may lean to one side."""
    y, x = np.mgrid[:64, :64]
    disc = torch.as_tensor(((y - 31.5) ** 2 + (x - 31.5) ** 2 < 144).astype(np.float32))[None]
    window = RandWindowd(["image", "label"], (64, 64), (64, 64), zoom=(1.2, 1.6), jitter_prob=1.0, num_samples=30)
    window.set_random_state(0)
    sides = [float((out["image"].sum() / disc.sum()).sqrt()) for out in window({"image": disc, "label": disc})]
    assert 1.15 < min(sides) < 1.3 < 1.5 < max(sides) < 1.65


def test_without_a_full_size_it_is_each_images_own() -> None:
    """Of images of any size a window of the level has the same scale: as the inferer resamples it."""
    for size in ((32, 32), (48, 32)):
        image = torch.rand(3, *size)
        data = {"image": resample(image[None], grid_size(size, 2))[0], "label": torch.zeros(1, *size)}
        expected = resample(image[None], grid_size(size, 4))[0]
        window = RandWindowd(
            ["image", "label"], None, tuple(expected.shape[1:]), scales=[4], stored_scale=2, flip=False, jitter_prob=0.0
        )
        (out,) = window(data)
        torch.testing.assert_close(out["image"], expected, atol=1e-5, rtol=0)
