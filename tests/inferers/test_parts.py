"""The steps of a level, each alone: windows, selection, gathering, averaging, the mosaic, counting operations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.errors import LevelError, NetworkError
from monai_dis.inferers import Layer, Mosaic
from monai_dis.inferers.gather import gather_windows, pad_image
from monai_dis.inferers.merge import fade, fade_radius, importance_map
from monai_dis.inferers.operations import count_operations, fitting_multiple
from monai_dis.inferers.score import score_windows
from monai_dis.inferers.select import select_windows
from monai_dis.inferers.windows import window_grid
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import roi_sizes, spatial_sizes

# Windows


@given(dims=st.integers(1, 3), data=st.data(), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.9]))
def test_candidates_lie_where_monais_windows_do(dims: int, data: st.DataObject, overlap: float) -> None:
    size, roi = data.draw(spatial_sizes(dims)), data.draw(roi_sizes(dims))
    windows = window_grid(size, roi, overlap)

    padded = [max(n, r) for n, r in zip(size, roi, strict=True)]
    slices = dense_patch_slices(padded, roi, _get_scan_interval(padded, roi, dims, [overlap] * dims))
    before = [p[0] for p in windows.padding]

    assert [tuple(c + b for c, b in zip(corner, before, strict=True)) for corner in windows.corners.tolist()] == [
        tuple(s.start for s in window) for window in slices
    ]
    assert len(windows) == len(slices)


def test_a_window_larger_than_the_image_is_one_candidate_before_its_corner() -> None:
    windows = window_grid((5, 20), (8, 8), 0.5)

    assert windows.starts == ((-1,), (0, 4, 8, 12))
    assert windows.padding == ((1, 2), (0, 0))
    assert windows.share == 8 / 20


# Selection


@given(
    dims=st.sampled_from([2, 3]),
    data=st.data(),
    selection=st.sampled_from(["ranked", "coverage"]),
    aggregate=st.sampled_from(["mean", "sum", "max"]),
)
def test_choices_are_unique_ordered_and_prefixes(
    dims: int, data: st.DataObject, selection: str, aggregate: str
) -> None:
    size = data.draw(spatial_sizes(dims))
    windows = window_grid(size, data.draw(roi_sizes(dims)), data.draw(st.sampled_from([0.0, 0.3, 0.6])))
    grid = [max(1, n // 2) for n in size]
    unsure = torch.rand(2, 1, *grid, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    scores = score_windows(unsure, None, windows, aggregate)
    few = data.draw(st.integers(0, len(windows)))
    floor = data.draw(st.none() | st.floats(0, 1))

    whole, gains = select_windows(scores, 1, selection=selection)
    part, _ = select_windows(scores, 1, limit=few, selection=selection)
    above, above_gains = select_windows(scores, 1, min_score=floor, selection=selection)

    assert sorted(whole.tolist()) == list(range(len(windows)))
    assert part.tolist() == whole[:few].tolist()
    assert above.tolist() == whole[: len(above)].tolist()
    assert floor is None or bool((above_gains >= np.float32(floor)).all())
    # Scores only fall along the choice: what is taken can only take from what is left.
    assert bool((np.diff(gains) <= 1e-5 * max(1.0, float(gains.max()))).all())
    assert gains[0] == scores.score[1].max()


@given(seed=st.integers(0, 1000), limit=st.integers(1, 6))
def test_coverage_covers_at_least_what_ranking_does(seed: int, limit: int) -> None:
    """The greedy choice never covers less than (1 - 1/e) of any other choice of as many windows."""
    unsure = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed)) ** 4
    windows = window_grid((12, 12), 4, 0.5)
    scores = score_windows(unsure, None, windows, "sum")

    def covered(selection: str) -> float:
        mask = torch.zeros(12, 12)
        for a, b in windows.corners[select_windows(scores, 0, limit=limit, selection=selection)[0]]:
            mask[a : a + 4, b : b + 4] = 1
        return float((mask * unsure[0, 0]).sum())

    assert covered("coverage") >= (1 - 1 / np.e) * covered("ranked") - 1e-6


def test_equal_windows_tie_wherever_they_lie() -> None:
    """Sums are exact, so far corners of a large table score like near ones, and ties go to the lower index."""
    tile = torch.rand(7, 7)
    unsure = tile.repeat(40, 40)[None, None]
    windows = window_grid((280, 280), 7, 0.0)

    scores = score_windows(unsure, None, windows)

    assert np.unique(scores.cells).size == 1
    assert np.unique(scores.score).size == 1
    assert select_windows(scores, 0, limit=5)[0].tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_selection_is_refused() -> None:
    scores = score_windows(torch.rand(1, 1, 4, 4), None, window_grid((4, 4), 2, 0.0))

    with pytest.raises(LevelError, match="selection must be one of"):
        select_windows(scores, 0, selection="best")


# Gathering


@given(dims=st.integers(1, 3), data=st.data())
def test_gathering_is_slicing(dims: int, data: st.DataObject) -> None:
    size = data.draw(spatial_sizes(dims, smallest=3))
    image = torch.arange(2 * 2 * int(np.prod(size)), dtype=torch.float32).reshape(2, 2, *size)
    roi = [data.draw(st.integers(1, n)) for n in size]
    count = data.draw(st.integers(1, 4))
    batch = [data.draw(st.integers(0, 1)) for _ in range(count)]
    corners = [[data.draw(st.integers(0, n - r)) for n, r in zip(size, roi, strict=True)] for _ in range(count)]

    got = gather_windows(image, torch.tensor(batch), torch.tensor(corners), roi)

    for k in range(count):
        index = tuple(slice(c, c + r) for c, r in zip(corners[k], roi, strict=True))
        assert torch.equal(got[k], image[(batch[k], slice(None), *index)])


def test_padding_adds_before_and_after() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])

    got = pad_image(image, (1, 0), (0, 2), mode="constant", cval=9.0)

    assert got[0, 0].tolist() == [[9, 9, 9, 9], [1, 2, 9, 9], [3, 4, 9, 9]]
    assert pad_image(image, (0, 0), (0, 0)) is image


# Merging


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_importance_is_monais(mode: str) -> None:
    assert torch.equal(importance_map((9, 6), mode, 0.2), compute_importance_map((9, 6), mode=mode, sigma_scale=0.2))


@given(seed=st.integers(0, 1000), radius=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_the_fade_is_zero_outside_one_inside_and_never_jumps(seed: int, radius: tuple[int, int]) -> None:
    rows, columns = radius
    generator = torch.Generator().manual_seed(seed)
    covered = torch.rand(1, 1, 24 + 4 * rows, 24 + 4 * columns, generator=generator) < 0.9
    covered[:, :, :6] = True

    weight = fade(covered, radius)

    inner = covered[:, :, 2 * rows : 24 + 2 * rows, 2 * columns : 24 + 2 * columns]
    assert weight.shape == (1, 1, 24, 24)
    assert bool((weight[~inner] == 0).all())
    assert bool(((weight >= 0) & (weight <= 1)).all())
    if rows:
        assert float(weight.diff(dim=2).abs().max()) <= 1 / (2 * rows + 1) + 1e-6
    if columns:
        assert float(weight.diff(dim=3).abs().max()) <= 1 / (2 * columns + 1) + 1e-6
    assert bool((fade(torch.ones_like(covered), radius) == 1).all())


@pytest.mark.parametrize(("roi", "want"), [((96, 96), (6, 6)), ((8, 4), (1, 0)), ((1, 400), (0, 25))], ids=str)
def test_fade_radius_is_a_sixteenth(roi: tuple[int, ...], want: tuple[int, ...]) -> None:
    assert fade_radius(roi) == want


def test_a_fade_reaches_into_regions_that_touch_no_border() -> None:
    """Row by row and column by column, around windows wide enough for a broad fade."""
    mosaic = Mosaic(torch.randn(1, 2, 8, 8), (70, 70), "softmax", [Layer((70, 70), (48, 32))])
    mosaic.add_windows(1, [0, 0], [(3, 9), (20, 30)], 9 * torch.randn(2, 2, 48, 32))

    whole = mosaic.compose()

    rows = [mosaic.compose((slice(i, i + 1), slice(None))) for i in range(70)]
    columns = [mosaic.compose((slice(None), slice(i, i + 1))) for i in range(70)]
    assert torch.equal(torch.cat(rows, dim=2), whole)
    assert torch.equal(torch.cat(columns, dim=3), whole)


def test_the_mosaic_refuses_windows_that_do_not_fit() -> None:
    mosaic = Mosaic(torch.zeros(1, 2, 4, 4), (8, 8), "softmax", [Layer((8, 8), (4, 4))])

    with pytest.raises(LevelError, match="level must be a sparse level between 1 and 1, got 2"):
        mosaic.add_windows(2, [0], [(0, 0)], torch.zeros(1, 2, 4, 4))
    with pytest.raises(LevelError, match="have shape"):
        mosaic.add_windows(1, [0], [(0, 0)], torch.zeros(1, 2, 4, 5))


def test_labels_of_many_classes_fit_their_type() -> None:
    coarse = torch.zeros(1, 300, 2, 2)
    coarse[:, 299] = 1

    assert Mosaic(coarse, (4, 4), "softmax").labels().unique().tolist() == [299]


# Operations


class Watched(FixedConv):
    """Says in a list, which its copies share, what it was run on."""

    runs: ClassVar[list[bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs.append(isinstance(x, torch._subclasses.FakeTensor))
        answer: torch.Tensor = super().forward(x)
        return answer


def test_counting_computes_nothing_and_is_not_seen_by_an_outer_counter() -> None:
    network = Watched(2, 1, 2)
    Watched.runs.clear()

    with FlopCounterMode(display=False) as counter:
        operations = count_operations(network, [torch.zeros(1, 1, 10, 20)])

    assert operations == 10 * 20 * 2 * 9
    assert counter.get_total_flops() == 0
    assert Watched.runs == [True]


def test_counts_are_remembered_per_shape() -> None:
    network = Watched(2, 1, 2)
    Watched.runs.clear()

    counts = [count_operations(network, [torch.zeros(1, 1, n, 4)]) for n in (4, 8, 4, 8)]

    assert counts == [4 * 4 * 18, 8 * 4 * 18] * 2
    assert len(Watched.runs) == 2


def test_counting_leaves_batch_statistics_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}

    count_operations(network, [torch.zeros(2, 1, 8, 8)])

    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


class Halving(nn.Module):
    """Goes down and up again ``times`` times and refuses sizes that this does not bring back."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.down, self.up = nn.MaxPool2d(2**times), nn.Upsample(scale_factor=2**times)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(self.down(x))


@pytest.mark.parametrize(("times", "size", "want"), [(0, (5, 7), 1), (1, (5, 8), 2), (3, (5, 9), 8), (3, (16, 8), 1)])
def test_the_smallest_padding_that_a_network_accepts(times: int, size: tuple[int, int], want: int) -> None:
    assert fitting_multiple(Halving(times), torch.zeros(1, 1, *size)) == want


def test_a_network_that_never_fits_speaks_for_itself() -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        raise NetworkError("no")

    assert fitting_multiple(network, torch.zeros(1, 1, 4, 4)) is None
