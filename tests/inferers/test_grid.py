"""Grids: sizes, taps, resampling against references, slabs, geometry."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.data.utils import list_data_collate

from monai_dis.errors import LevelError
from monai_dis.inferers.grid import (
    axis_taps,
    grid_affine,
    grid_size,
    resample,
    resample_part,
    scale_from_spacing,
    slabs,
    source_region,
    spatial,
)
from monai_dis.testing.strategies import images, spatial_sizes


@pytest.mark.parametrize(
    ("size", "scale", "want"),
    [
        pytest.param((768, 768), 8, (96, 96), id="poster"),
        pytest.param((7, 100), 8, (1, 13), id="rounded-up"),
        pytest.param((5, 5), 100, (1, 1), id="never-empty"),
        pytest.param((10, 20, 30), (1, 2, 3), (10, 10, 10), id="per-axis"),
        pytest.param((21, 21), 0.7 / 0.1, (3, 3), id="a-division-adds-no-voxel"),
        pytest.param((96, 96), 2.5, (39, 39), id="fraction"),
    ],
)
def test_grid_size(size: tuple[int, ...], scale: float | tuple[float, ...], want: tuple[int, ...]) -> None:
    assert grid_size(size, scale) == want


@pytest.mark.parametrize(
    ("size_in", "size_out", "index", "weight"),
    [
        pytest.param(3, 3, [[0], [1], [2]], [[1], [1], [1]], id="same"),
        pytest.param(6, 2, [[0, 1, 2], [3, 4, 5]], [[1 / 3] * 3, [1 / 3] * 3], id="whole-blocks"),
        # Voxel 1 is cut in two: each output voxel is 1.5 input voxels long.
        pytest.param(3, 2, [[0, 1], [1, 2]], [[2 / 3, 1 / 3], [1 / 3, 2 / 3]], id="cut-voxel"),
        # Centres at -0.25, 0.25, 0.75, 1.25: clamped at both edges.
        pytest.param(
            2,
            4,
            [[0, 0], [0, 1], [0, 1], [1, 1]],
            [[0.25, 0.75], [0.75, 0.25], [0.25, 0.75], [0.75, 0.25]],
            id="doubled",
        ),
        pytest.param(1, 3, [[0, 0]] * 3, [[2 / 3, 1 / 3], [1, 0], [2 / 3, 1 / 3]], id="from-one-voxel"),
        pytest.param(5, 1, [[0, 1, 2, 3, 4]], [[0.2] * 5], id="to-one-voxel"),
    ],
)
def test_axis_taps(size_in: int, size_out: int, index: list[list[int]], weight: list[list[float]]) -> None:
    got_index, got_weight = axis_taps(size_in, size_out)

    torch.testing.assert_close((got_weight != 0) * got_index, (got_weight != 0) * torch.tensor(index))
    if size_in != 1:
        torch.testing.assert_close(got_weight, torch.tensor(weight, dtype=torch.float64))


@given(size_in=st.integers(1, 200), size_out=st.integers(1, 200))
def test_taps_keep_sums_and_read_every_voxel_equally(size_in: int, size_out: int) -> None:
    index, weight = axis_taps(size_in, size_out)

    torch.testing.assert_close(weight.sum(1), torch.ones(size_out, dtype=torch.float64))
    assert bool((weight >= 0).all())
    if size_out <= size_in:
        read = torch.zeros(size_in, dtype=torch.float64).index_add_(0, index.reshape(-1), weight.reshape(-1))
        torch.testing.assert_close(read, torch.full((size_in,), size_out / size_in, dtype=torch.float64))


@given(image=images(2), data=st.data())
def test_enlarging_is_torchs_linear_interpolation(image: torch.Tensor, data: st.DataObject) -> None:
    size = [n + data.draw(st.integers(0, 40)) for n in image.shape[2:]]

    want = F.interpolate(image.double(), size, mode="bilinear", align_corners=False).float()

    torch.testing.assert_close(resample(image, size), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_shrinking_by_a_whole_factor_is_the_block_mean(factor: int) -> None:
    image = torch.randn(2, 3, 24, 48)

    want = F.avg_pool2d(image, factor)

    torch.testing.assert_close(resample(image, want.shape[2:]), want)


@given(dims=st.integers(1, 3), data=st.data())
def test_shrinking_keeps_the_mean_and_a_constant(dims: int, data: st.DataObject) -> None:
    image = data.draw(images(dims))
    size = [data.draw(st.integers(1, n)) for n in image.shape[2:]]

    small = resample(image, size)

    torch.testing.assert_close(small.flatten(2).mean(2), image.flatten(2).mean(2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(resample(torch.full_like(image, 3.0), size), torch.full_like(small, 3.0))


@given(dims=st.integers(1, 3), data=st.data())
def test_a_region_has_the_bits_of_the_whole(dims: int, data: st.DataObject) -> None:
    image = data.draw(images(dims))
    size = data.draw(spatial_sizes(dims))
    region = []
    for n in size:
        start = data.draw(st.integers(0, n - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, n))))

    part = resample(image, size, region)

    assert torch.equal(part, resample(image, size)[spatial(region)])
    need = source_region(image.shape[2:], size, region)
    from_part = resample_part(image[spatial(need)], [s.start for s in need], image.shape[2:], size, region)
    assert torch.equal(from_part, part)


@given(
    small=st.integers(1, 9),
    factor=st.sampled_from([1, 2, 3, 4, 5, 8]),
    shrink=st.booleans(),
    axis=st.sampled_from([2, 3]),
    data=st.data(),
)
def test_whole_factors_have_the_bits_of_the_taps(
    small: int, factor: int, shrink: bool, axis: int, data: st.DataObject
) -> None:
    source, target = (small * factor, small) if shrink else (small, small * factor)
    start = data.draw(st.integers(0, target - 1))
    where = slice(start, data.draw(st.integers(start + 1, target)))
    x = torch.randn(1, 2, 3, source, generator=torch.Generator().manual_seed(small))
    index, weight = axis_taps(source, target)
    want = sum(x[..., index[:, tap]] * weight[:, tap].float() for tap in range(index.shape[1]))

    made = resample(
        x.movedim(3, axis), (3, target) if axis == 3 else (target, 3), [slice(0, 3), where][:: 1 if axis == 3 else -1]
    )

    assert torch.equal(made.movedim(axis, 3), want[..., where])


@given(size=spatial_sizes(3), channels=st.integers(1, 5), values=st.integers(1, 5000))
def test_slabs_cover_the_grid_once(size: tuple[int, ...], channels: int, values: int) -> None:
    seen = torch.zeros(1, 1, *size)

    for part in slabs(size, channels, values=values):
        seen[spatial(part)] += 1
        planes = part[0].stop - part[0].start
        assert planes == 1 or planes * channels * size[1] * size[2] <= values

    assert bool((seen == 1).all())


def test_nothing_is_copied_when_nothing_changes() -> None:
    image = torch.randn(1, 1, 5, 6)

    assert resample(image, (5, 6)) is image


def test_half_precision_is_rounded_once() -> None:
    image = torch.randn(1, 2, 31, 17).half()

    got = resample(image, (8, 5))

    assert got.dtype == torch.float16
    assert torch.equal(got, resample(image.float(), (8, 5)).half())


def test_a_batch_of_meta_tensors_keeps_an_affine_per_image() -> None:
    items = [
        {"image": MetaTensor(torch.randn(1, 8, 6), affine=torch.diag(torch.tensor([s, 1.0, 1.0])))} for s in (1.0, 2.0)
    ]
    batch = list_data_collate(items)["image"]

    small = resample(batch, (4, 3))

    assert small.affine.shape == (2, 3, 3)
    torch.testing.assert_close(small.affine, grid_affine(batch.affine, (8, 6), (4, 3)))
    assert small.affine[:, 0, 0].tolist() == [2.0, 4.0]


def test_the_affine_of_a_picture_in_space_and_of_a_region() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.randn(1, 1, 8, 8), affine=affine)

    part = resample(image, (4, 4), (slice(1, 3), slice(0, 2)))

    # The first voxel kept is number 1 of 4: its centre is 2.5 voxels of the image from the first.
    assert part.affine[:, -1].tolist() == [5.0, 1.5, 0.0, 1.0]
    assert part.affine.diagonal().tolist() == [4.0, 6.0, 1.0, 1.0]


def test_scale_from_spacing_keeps_axes_that_are_coarse_already() -> None:
    image = MetaTensor(torch.zeros(1, 1, 4, 4, 4), affine=torch.diag(torch.tensor([0.5, 1.0, 5.0, 1.0])))

    assert scale_from_spacing(image, 2.0) == (4.0, 2.0, 1.0)
    assert scale_from_spacing(image, (1.0, 3.0, 10.0)) == (2.0, 3.0, 2.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grid_size((4, 4), (1, 2, 3)), "has 3 entries, the image has 2"),
        (lambda: grid_size((4, 4), float("nan")), "scale must be a finite number"),
        (lambda: axis_taps(0, 3), "one voxel at least"),
        (lambda: resample(torch.zeros(1, 1, 4), (2, 2)), "size .* has 2 entries, the image has 1"),
        (lambda: resample(torch.zeros(1, 1, 4), (2,), (slice(0, 1), slice(0, 1))), "region has 2 slices"),
        (lambda: resample(torch.zeros(1, 1, 4), (2,), (slice(1, 1),)), "non-empty slices"),
        (lambda: resample(torch.zeros(1, 1, 4), (2,), (slice(0, 2, 2),)), "slices of step 1"),
        (lambda: scale_from_spacing(torch.zeros(1, 1, 4), 2.0), "needs a MetaTensor"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, words: str) -> None:
    with pytest.raises(LevelError, match=words):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("target", [(64, 48), (9, 7), (20, 30)], ids=["enlarged", "shrunk", "both"])
def test_gradients_flow_through_resampling(target: tuple[int, int]) -> None:
    x = torch.rand(1, 2, 16, 24, dtype=torch.float64, requires_grad=True)
    resample(x, target).square().sum().backward()
    got = x.grad
    assert got is not None
    with torch.no_grad():
        step = torch.zeros_like(x)
        step[0, 1, 5, 6] = 1e-6
        change = resample(x + step, target).square().sum() - resample(x - step, target).square().sum()
    assert float(got[0, 1, 5, 6]) == pytest.approx(float(change) / 2e-6, rel=1e-5)
