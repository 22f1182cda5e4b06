"""Spacing by axis: MONAI's transform is the reference, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, Spacingd

from monai_dis.transforms import AxisResample, AxisSpacingd

SPACINGS = st.sampled_from([0.4, 0.625, 0.8, 1.0, 1.3, 2.0, 3.7, 7.7])


def image(size: tuple[int, ...], spacing: tuple[float, ...], turned: np.ndarray, channels: int = 1) -> MetaTensor:
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag(spacing)
    affine[:3, 3] = (-31.5, 17.25, 4.0)
    values = torch.rand((channels, *size), generator=torch.Generator().manual_seed(3))
    return MetaTensor(values, affine=torch.from_numpy(affine))


def oblique(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def same_place(ours: MetaTensor, theirs: MetaTensor) -> None:
    assert ours.shape == theirs.shape
    assert np.allclose(np.asarray(ours.affine), np.asarray(theirs.affine), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 14)] * 3),
    spacing=st.tuples(*[SPACINGS] * 3),
    wanted=st.tuples(*[SPACINGS] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    angle=st.sampled_from([0.0, 0.3]),
    channels=st.integers(1, 2),
)
def test_values_and_places_are_monais(
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    wanted: tuple[float, ...],
    flips: tuple[float, ...],
    angle: float,
    channels: int,
) -> None:
    data = image(size, spacing, oblique(angle) @ np.diag(flips), channels)
    ours = AxisSpacingd("image", wanted)({"image": data})["image"]
    theirs = Spacingd("image", wanted)({"image": data})["image"]
    same_place(ours, theirs)
    assert torch.allclose(ours.as_tensor(), theirs.as_tensor(), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 14)] * 3),
    spacing=st.tuples(*[SPACINGS] * 3),
    wanted=st.tuples(*[SPACINGS] * 3),
    nearest=st.booleans(),
)
def test_the_way_back_is_monais(
    size: tuple[int, ...], spacing: tuple[float, ...], wanted: tuple[float, ...], nearest: bool
) -> None:
    data = image(size, spacing, np.diag([-1.0, -1.0, 1.0]))
    answers = []
    for kind in (AxisSpacingd, Spacingd):
        preparing = Compose([Orientationd("image", axcodes="LPS", labels=None), kind("image", wanted)])
        prepared = preparing({"image": data})
        prepared["pred"] = MetaTensor((prepared["image"].as_tensor() * 4).round(), meta=prepared["image"].meta)
        back = Invertd("pred", preparing, "image", nearest_interp=nearest)(prepared)["pred"]
        answers.append(back)
        same_place(back, data)
    ours, theirs = (a.as_tensor().float() for a in answers)
    if nearest:
        # Half-way between two voxels the nearest one is a matter of rounding.
        clear = [_clear_rows(*axis) for axis in zip(size, spacing, wanted, strict=True)]
        ours, theirs = (a[0][np.ix_(*clear)] for a in (ours, theirs))
        assert torch.equal(ours, theirs)
    else:
        assert torch.allclose(ours, theirs, atol=1e-4)


def _clear_rows(size: int, have: float, want: float) -> np.ndarray:
    at = np.arange(size) * have / want  # the first voxels of both grids lie at one place
    return np.flatnonzero(np.abs(at - np.floor(at) - 0.5) > 1e-6)


def test_a_table_worked_by_hand() -> None:
    row = MetaTensor(torch.tensor([0.0, 10.0, 20.0, 30.0]).reshape(1, 4, 1, 1), affine=torch.eye(4))
    assert AxisSpacingd("i", (2.0, 1.0, 1.0))({"i": row})["i"].flatten().tolist() == [0.0, 20.0]
    finer = AxisSpacingd("i", (0.5, 1.0, 1.0))({"i": row})["i"]
    assert finer.flatten().tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]


def test_labels_keep_their_type() -> None:
    labels = MetaTensor(torch.arange(8, dtype=torch.uint8).reshape(1, 8, 1, 1), affine=torch.eye(4))
    out = AxisSpacingd("label", (3.0, 1.0, 1.0), mode="nearest")({"label": labels})["label"]
    assert out.dtype == torch.uint8
    assert set(out.flatten().tolist()) <= set(range(8))


@pytest.mark.parametrize(
    "options",
    [{"mode": 3, "padding_mode": "mirror"}, {"padding_mode": "zeros"}, {"diagonal": True}, {"align_corners": True}],
)
def test_what_is_not_by_axis_is_left_to_monai(options: dict[str, object]) -> None:
    data = image((9, 8, 7), (1.0, 1.2, 2.0), oblique(0.4))
    ours = AxisSpacingd("image", (0.9, 1.0, 1.0), **options)({"image": data})["image"]
    theirs = Spacingd("image", (0.9, 1.0, 1.0), **options)({"image": data})["image"]
    same_place(ours, theirs)
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())


def test_slabs_have_the_bits_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image((23, 9, 8), (1.0, 1.0, 1.0), np.eye(3), channels=2)
    whole = AxisSpacingd("image", (0.7, 1.4, 0.9))({"image": data})["image"]
    from monai_dis.inferers.grid import slabs
    from monai_dis.transforms import axis_spacing

    monkeypatch.setattr(axis_spacing, "slabs", lambda size, channels: slabs(size, channels, values=1))
    pieces = AxisSpacingd("image", (0.7, 1.4, 0.9))({"image": data})["image"]
    assert torch.equal(whole.as_tensor(), pieces.as_tensor())


def test_nothing_to_do_changes_nothing() -> None:
    data = image((5, 4, 3), (1.0, 1.0, 2.0), np.eye(3))
    out = AxisResample()(data, dst_affine=data.affine, spatial_size=data.shape[1:])
    assert torch.equal(out.as_tensor(), data.as_tensor())
