"""The scale of fundus photographs: the circle is found however it is framed, and the way back leads to the same pixels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, EnsureTyped, Invertd

from monai_dis.data import ReadImaged
from monai_dis.errors import DataError
from monai_dis.transforms import FieldOfView, ScaleFieldOfView, ScaleFieldOfViewd, find_field_of_view

EXAMPLE = Path(__file__).parents[2] / "examples" / "chase_db1_02L.jpg"


def photograph(
    size: tuple[int, int], circle: FieldOfView, *, border: float = 0.0, light: float = 150.0, noise: float = 3.0
) -> torch.Tensor:
    """A disc that grows dark towards its edge, with a notch, on a border that may glare."""
    x, y = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    radius = circle.diameter / 2
    away = np.hypot(x - circle.centre[0], y - circle.centre[1]) / radius
    image = np.where(away < 1, light * (1 - 0.6 * away**2), border)
    notch = np.hypot(x - circle.centre[0] - 0.7 * radius, y - circle.centre[1] - 0.7 * radius) < 0.06 * radius
    image[notch] = light
    image = image + noise * np.random.default_rng(0).standard_normal(size)
    return torch.as_tensor(np.stack([image, 0.5 * image, 0.2 * image]).clip(0, 255), dtype=torch.float32)


@pytest.mark.parametrize(
    ("size", "circle", "options"),
    [
        pytest.param((565, 584), FieldOfView((282, 297), 538), {}, id="all-of-it"),
        pytest.param((700, 605), FieldOfView((345, 290), 655), {"border": 25.0}, id="cut-with-glare"),
        pytest.param((999, 960), FieldOfView((492, 478), 919), {"light": 60.0}, id="underexposed"),
        pytest.param((3504, 2336), FieldOfView((1756, 1162), 3257), {}, id="top-and-bottom-cut"),
        pytest.param((4288, 2848), FieldOfView((1996, 1411), 3415), {"noise": 6.0}, id="cut-and-off-centre"),
        pytest.param((800, 800), FieldOfView((480, 400), 700), {}, id="one-side-cut"),
        pytest.param((2848, 4288), FieldOfView((1411, 1996), 3415), {}, id="turned"),
    ],
)
def test_the_circle_is_found(size: tuple[int, int], circle: FieldOfView, options: dict[str, float]) -> None:
    found = find_field_of_view(photograph(size, circle, **options))
    assert found is not None
    assert found.diameter == pytest.approx(circle.diameter, rel=0.02)
    assert found.centre == pytest.approx(circle.centre, abs=0.02 * circle.diameter)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(torch.full((3, 400, 300), 90.0), id="even"),
        pytest.param(torch.rand(3, 400, 300) * 255, id="noise"),
        pytest.param(torch.zeros(3, 400, 300), id="black"),
        pytest.param(photograph((300, 300), FieldOfView((150, 150), 500)), id="inside-of-a-retina"),
        pytest.param(torch.ones(3, 1, 1), id="one-pixel"),
    ],
)
def test_where_there_is_none_none_is_found(image: torch.Tensor) -> None:
    assert find_field_of_view(image) is None


def test_a_real_photograph_gets_the_diameter_that_is_asked_for() -> None:
    image = ReadImaged("image")({"image": str(EXAMPLE)})["image"]
    for diameter in (400, 1500):
        found = find_field_of_view(ScaleFieldOfView(diameter)(image))
        assert found is not None
        assert found.diameter == pytest.approx(diameter, rel=0.01)


@pytest.mark.parametrize("diameter", [180, 900])
def test_invertd_leads_back(diameter: float) -> None:
    """A label that a network gives on the new grid has its own pixels on the photograph's, and its affine."""
    affine = torch.diag(torch.tensor([0.01, -0.02, 1.0, 1.0], dtype=torch.float64))
    image = MetaTensor(photograph((400, 300), FieldOfView((200, 150), 360)), affine=affine)
    preprocessing = Compose([ScaleFieldOfViewd("image", diameter)])
    item = preprocessing({"image": image})
    scaled = item["image"]
    assert tuple(scaled.shape[1:]) == pytest.approx((400 * diameter / 360, 300 * diameter / 360), rel=0.02)
    corner = torch.tensor([-0.5, -0.5, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(scaled.affine @ corner, affine @ corner)
    item["pred"] = MetaTensor((scaled[:1] > 40).float(), meta=scaled.meta)
    back = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)(item)["pred"]
    truth = image[:1] > 40
    assert back.shape == truth.shape
    assert set(back.unique().tolist()) <= {0.0, 1.0}
    assert float((back.bool() != truth).float().mean()) < 0.02
    torch.testing.assert_close(back.affine, image.affine)


def test_a_label_follows_its_photograph_with_its_own_values() -> None:
    image = photograph((400, 300), FieldOfView((200, 150), 360))
    label = torch.zeros(1, 400, 300)
    label[0, 100:200, 50:80] = 3
    item = ScaleFieldOfViewd(["image", "label"], 180, mode=[None, "nearest-exact"])({"image": image, "label": label})
    assert item["label"].shape[1:] == item["image"].shape[1:]
    assert item["label"].unique().tolist() == [0.0, 3.0]
    assert float((item["label"] > 0).float().mean()) == pytest.approx(float((label > 0).float().mean()), rel=0.05)


def test_arrays_without_a_file_are_scaled_alike() -> None:
    """As they come from DICOM: already read, plain tensors of bytes."""
    image = photograph((400, 300), FieldOfView((200, 150), 360)).round().byte()
    scaled = Compose([EnsureTyped("image"), ScaleFieldOfViewd("image", 720)])({"image": image.numpy()})["image"]
    found = find_field_of_view(scaled)
    assert found is not None
    assert found.diameter == pytest.approx(720, rel=0.02)


def test_without_a_field_of_view_the_longer_side_counts_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    image = MetaTensor(torch.full((3, 300, 400), 90.0), meta={"filename_or_obj": "eye.png"})
    with caplog.at_level(logging.WARNING):
        assert ScaleFieldOfView(200)(image).shape == (3, 150, 200)
    assert "eye.png shows no round field of view" in caplog.text
    assert "400 pixels" in caplog.text


def test_nonsense_is_refused() -> None:
    with pytest.raises(DataError, match="above 0 pixels"):
        ScaleFieldOfView(0)
    with pytest.raises(DataError, match="1 modes do not fit 2 keys"):
        ScaleFieldOfViewd(["image", "label"], 100, mode=["area"])
    with pytest.raises(DataError, match="same columns and rows"):
        ScaleFieldOfView(100)(torch.zeros(1, 4, 5), torch.zeros(3, 5, 4))
