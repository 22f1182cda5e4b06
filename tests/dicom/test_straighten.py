"""Laws of straightening a tilted stack."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.dicom.straighten import bend_back, plan_straightening, straighten


@st.composite
def sheared(draw: st.DrawFn, *, whole_pixels: bool) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and size of a stack whose slices drift by whole or any numbers of pixels."""
    rotation, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 2**16))).normal(size=(3, 3)))
    drift = [draw(st.integers(-2, 2) if whole_pixels else st.floats(-2, 2)) for _ in range(2)]
    affine = np.eye(4)
    affine[:3, :3] = rotation * [draw(st.floats(0.4, 3)) for _ in range(3)]
    affine[:3, 2] += drift[0] * affine[:3, 0] + drift[1] * affine[:3, 1]
    affine[:3, 3] = draw(st.integers(-50, 50)), 5, -7
    return affine, (draw(st.integers(3, 8)), draw(st.integers(3, 8)), draw(st.integers(2, 6)))


@given(case=sheared(whole_pixels=False))
def test_the_right_grid_is_right_and_holds_every_slice_in_its_place(
    case: tuple[np.ndarray, tuple[int, int, int]],
) -> None:
    affine, shape = case
    plan = plan_straightening(affine, shape)
    axes = plan.affine_lps[:3, :3]
    assert np.allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-6)
    for corner in np.ndindex(2, 2, shape[2]):
        index = np.array([corner[0] * (shape[0] - 1), corner[1] * (shape[1] - 1), corner[2]], dtype=float)
        moved = [*(index[:2] + plan.offsets[corner[2]]), index[2]]
        assert np.allclose(affine @ [*index, 1], plan.affine_lps @ [*moved, 1], atol=1e-4)
        assert all(-1e-6 <= value <= size - 1 + 1e-6 for value, size in zip(moved, plan.shape, strict=True))


@given(case=sheared(whole_pixels=True), seed=st.integers(0, 99))
def test_whole_pixels_there_and_back_change_nothing(case: tuple[np.ndarray, tuple[int, int, int]], seed: int) -> None:
    affine, shape = case
    volume = np.random.default_rng(seed).integers(0, 9, shape).astype(np.float32)
    plan = plan_straightening(affine, shape)
    assert np.array_equal(bend_back(straighten(volume, plan), plan), volume)


@given(case=sheared(whole_pixels=False), seed=st.integers(0, 99))
def test_labels_come_back_from_within_half_a_pixel(case: tuple[np.ndarray, tuple[int, int, int]], seed: int) -> None:
    affine, shape = case
    plan = plan_straightening(affine, shape)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in plan.shape], indexing="ij")).astype(float)
    columns, rows, slices = bend_back(index, plan)
    own = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).astype(float)
    assert np.abs(columns - own[0] - plan.offsets[:, 0]).max() <= 0.5 + 1e-6
    assert np.abs(rows - own[1] - plan.offsets[:, 1]).max() <= 0.5 + 1e-6
    assert np.array_equal(slices, own[2])
