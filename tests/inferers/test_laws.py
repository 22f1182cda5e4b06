"""The laws of the design, as properties over sizes, dimensions, batches, classes and windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.networks.nets import BasicUNet, UNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.inferers.grid import grid_affine, grid_size, resample
from monai_dis.networks import ResidualRefiner, TwoStageNet
from monai_dis.testing.networks import ConditioningNet, FixedConv, PointNet, TruthNet
from monai_dis.testing.strategies import Case, affines, budgets, cases, images, spatial_sizes

merges = st.sampled_from(["replace", "blend", "entropy"])
selections = st.sampled_from(["ranked", "coverage"])
scores = st.sampled_from(["entropy", "margin", "least_confidence", "poster"])


def network_of(case: Case, seed: int = 0) -> nn.Module:
    return FixedConv(case.dims, case.image.shape[1], case.classes, seed=seed).eval()


# Law 1


@given(case=cases(), merge=merges)
def test_no_windows_is_the_upsampled_coarse_output_bit_for_bit(case: Case, merge: str) -> None:
    network = network_of(case)
    inferer = IterativeInferer(**case.windowing, budget=Budget(windows=0), merge=merge)

    got = inferer(case.image, network)

    size = case.image.shape[2:]
    with torch.no_grad():
        coarse = network(resample(case.image, grid_size(size, case.coarse_scale)))
    assert torch.equal(got, resample(coarse, size))


# Law 2


@given(case=cases(), merge=st.sampled_from(["replace", "blend"]), sw_batch_size=st.integers(1, 5))
def test_everywhere_is_the_sliding_window(case: Case, merge: str, sw_batch_size: int) -> None:
    network = network_of(case)
    inferer = IterativeInferer(**case.windowing, sw_batch_size=sw_batch_size, merge=merge)

    got = inferer(case.image, network)

    with torch.no_grad():
        want = sliding_window_inference(
            case.image, case.roi_size, sw_batch_size, network, overlap=case.overlap, mode=case.mode
        )
    # Windows are summed in another order than MONAI's; logits here are below 50.
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


# Law 3


@given(case=cases(), budget=budgets(), merge=merges, levels=st.sampled_from([[4, 1], [8, 2, 1], [5, 3.3, 1.7]]))
def test_returning_the_conditioning_changes_nothing(
    case: Case, budget: Budget, merge: str, levels: list[float]
) -> None:
    network = TwoStageNet(network_of(case), ConditioningNet(), "logits")
    options = {**case.windowing, "levels": levels, "merge": merge}

    refined = IterativeInferer(**options, budget=budget)(case.image, network)
    coarse = IterativeInferer(**options, budget=Budget(windows=0))(case.image, network)

    torch.testing.assert_close(refined, coarse, rtol=1e-6, atol=1e-5)


@given(case=cases(), merge=merges, selection=selections, score=scores)
def test_with_the_truth_the_error_never_grows_with_the_budget(
    case: Case, merge: str, selection: str, score: str
) -> None:
    image = (case.image > 0).float()
    network = TwoStageNet(FixedConv(case.dims, image.shape[1], 1), TruthNet())
    options = {**case.windowing, "merge": merge, "selection": selection, "score": score}

    before = None
    for windows in (0, 1, 2, 3, 5, 8, None):
        logits = IterativeInferer(**options, budget=Budget(windows=windows))(image, network)
        error = (logits.sigmoid() - image[:, :1]).abs()
        if before is not None:
            assert bool((error <= before + 1e-6).all())
        before = error


# Law 4


@given(case=cases(), selection=selections, score=scores, few=st.integers(0, 12), more=st.integers(0, 12))
def test_windows_of_a_smaller_budget_are_a_prefix(case: Case, selection: str, score: str, few: int, more: int) -> None:
    network = network_of(case)
    options = {**case.windowing, "levels": [8, 2, 1], "selection": selection, "score": score}

    def chosen(windows: int | None) -> dict[tuple[int, int], list[tuple[int, ...]]]:
        result = IterativeInferer(**options, budget=Budget(windows=windows)).run(case.image, network)
        lists: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for w in result.windows:
            lists.setdefault((w.level, w.image), []).append(w.grid_corner)
        return lists

    small, large, everywhere = chosen(few), chosen(few + more), chosen(None)

    for key, corners in small.items():
        assert large[key][: len(corners)] == corners
    # Level 2 chooses on what level 1 left, so only level 1 compares with a run where that differs.
    for (level, image), corners in large.items():
        if level == 1:
            assert everywhere[level, image][: len(corners)] == corners


@given(case=cases(), budget=budgets(), levels=st.sampled_from([[4, 1], [8, 2, 1]]))
def test_counted_costs_never_exceed_the_budget(case: Case, budget: Budget, levels: list[float]) -> None:
    network = network_of(case)
    inferer = IterativeInferer(**{**case.windowing, "levels": levels}, budget=budget)

    result = inferer.run(case.image, network)
    statistics = result.statistics

    for image in range(case.image.shape[0]):
        mine = [w for w in result.windows if w.image == image]
        assert budget.windows is None or len(mine) <= budget.windows
        if budget.coverage is not None and budget.coverage < 1:
            area = 0.0
            for w in mine:
                share = 1.0
                grid = grid_size(case.image.shape[2:], levels[w.level])
                for size, n in zip(w.grid_size, grid, strict=True):
                    share *= min(size, n) / n
                area += share
            assert area <= budget.coverage * (1 + 1e-6)
        assert budget.min_score is None or all(w.score >= budget.min_score for w in mine)
    if budget.operations is not None:
        most = max(budget.operations * statistics.operations_full_pass, statistics.operations_coarse)
        assert statistics.operations <= most * (1 + 1e-6)


@pytest.mark.parametrize("levels", [[4, 1], [8, 2, 1]], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.06, 0.07, 0.1, 0.25, 0.3, 0.5, 1.0, 1.5])
def test_operations_are_spent_to_the_last_window_and_no_further(share: float, levels: list[float]) -> None:
    """A 48 x 64 image in windows of 8, the coarse pass paid from the same budget."""
    image = torch.randn(2, 1, 48, 64)
    inferer = IterativeInferer(8, 1, 0.5, levels=levels, budget=Budget(operations=share))

    statistics = inferer.run(image, FixedConv(2, 1, 2)).statistics

    window, most = 64 * 18, share * 48 * 64 * 18
    spent = statistics.operations / 2
    if most < statistics.operations_coarse / 2:
        assert spent == statistics.operations_coarse / 2
    else:
        assert spent <= most * (1 + 1e-6)
        assert spent + window > most or statistics.windows_refined == statistics.windows_total


# Law 5


@given(case=cases(), windows=st.integers(1, 12), sw_batch_size=st.integers(2, 7))
def test_sw_batch_size_changes_nothing(case: Case, windows: int, sw_batch_size: int) -> None:
    network = network_of(case)
    budget = Budget(windows=windows)

    one = IterativeInferer(**case.windowing, budget=budget)(case.image, network)
    many = IterativeInferer(**case.windowing, budget=budget, sw_batch_size=sw_batch_size)(case.image, network)

    torch.testing.assert_close(one, many, rtol=1e-6, atol=1e-5)


@given(case=cases(), windows=st.integers(1, 12), data=st.data())
def test_the_order_of_images_changes_nothing(case: Case, windows: int, data: st.DataObject) -> None:
    network = network_of(case)
    inferer = IterativeInferer(**case.windowing, budget=Budget(windows=windows), sw_batch_size=3)
    order = data.draw(st.permutations(range(case.image.shape[0])))

    together = inferer(case.image, network)
    mixed = inferer(case.image[order], network)
    alone = torch.cat([inferer(image[None], network) for image in case.image])

    torch.testing.assert_close(together[order], mixed, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-5)


@given(case=cases(), windows=st.integers(0, 12), merge=merges, data=st.data())
def test_a_region_has_the_bits_of_the_whole(case: Case, windows: int, merge: str, data: st.DataObject) -> None:
    inferer = IterativeInferer(
        **{**case.windowing, "levels": [8, 2.5, 1.3]}, budget=Budget(windows=windows), merge=merge
    )
    mosaic = inferer.run(case.image, network_of(case)).mosaic
    region = []
    for n in case.image.shape[2:]:
        start = data.draw(st.integers(0, n - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, n))))

    whole = mosaic.on(mosaic.size, 2)

    part = mosaic.compose(region)
    want = whole[(slice(None), slice(None), *region)]
    if merge == "entropy":
        # Logarithms round differently at the end of a vector register.
        torch.testing.assert_close(part, want, rtol=1e-6, atol=1e-5)
    else:
        assert torch.equal(part, want)
        assert torch.equal(mosaic.compose(), whole)


@given(case=cases(), budget=budgets())
def test_two_runs_give_the_same_bits(case: Case, budget: Budget) -> None:
    network = network_of(case)
    inferer = IterativeInferer(**case.windowing, budget=budget)

    assert torch.equal(inferer(case.image, network), inferer(case.image, network))


# Law 6


@given(
    dims=st.sampled_from([2, 3]),
    seed=st.integers(0, 1000),
    windows=st.integers(1, 6),
    selection=selections,
    score=scores,
    merge=merges,
    data=st.data(),
)
def test_flips_and_transpositions_commute(
    dims: int, seed: int, windows: int, selection: str, score: str, merge: str, data: st.DataObject
) -> None:
    # Whole numbers of windows and of coarse voxels, so that the grids themselves are symmetric.
    size = 32 if dims == 2 else 16
    image = torch.randn(1, 2, *[size] * dims, generator=torch.Generator().manual_seed(seed))
    network = FixedConv(dims, 2, 3, symmetric=True).eval()
    inferer = IterativeInferer(
        8, overlap=0, coarse_scale=4, budget=Budget(windows=windows), selection=selection, score=score, merge=merge
    )
    flipped = [axis + 2 for axis in range(dims) if data.draw(st.booleans())]
    order = [0, 1, *[axis + 2 for axis in data.draw(st.permutations(range(dims)))]]

    def move(x: torch.Tensor) -> torch.Tensor:
        return x.flip(flipped).permute(order).contiguous()

    moved_after = move(inferer(image, network))
    moved_before = inferer(move(image), network)

    torch.testing.assert_close(moved_after, moved_before, rtol=1e-5, atol=1e-4)


# Law 7


@given(dims=st.sampled_from([2, 3]), data=st.data(), scale=st.sampled_from([1.0, 1.5, 2.0, 3.7, 8.0]))
def test_every_voxel_keeps_its_world_position_at_every_level(dims: int, data: st.DataObject, scale: float) -> None:
    size = data.draw(spatial_sizes(dims, smallest=2))
    affine = data.draw(affines(dims))
    image = MetaTensor(_world_of(affine, size)[None], affine=affine)

    small = resample(image, grid_size(size, scale))

    # The mean of a linear function over whole voxels is its value at the centre. A voxel cut in two counts as constant,
    # which moves the mean by an eighth of a voxel of the image at most.
    want = _world_of(small.affine, small.shape[2:])
    shift = torch.einsum("ij,j...->i...", affine[:-1, :-1].inverse(), small.as_tensor()[0] - want)
    for axis, (n, m) in enumerate(zip(size, small.shape[2:], strict=True)):
        assert float(shift[axis].abs().max()) <= (1e-6 if n % m == 0 else 0.125)
    back = resample(small, size)
    torch.testing.assert_close(back.affine, affine, rtol=0, atol=1e-6)


@given(case=cases(), data=st.data())
def test_a_marked_voxel_stays_where_it_is(case: Case, data: st.DataObject) -> None:
    size = tuple(case.image.shape[2:])
    place = tuple(data.draw(st.integers(0, n - 1)) for n in size)
    affine = data.draw(affines(case.dims))
    image = torch.zeros(1, 1, *size)
    image[(0, 0, *place)] = 1000.0

    result = IterativeInferer(**case.windowing).run(MetaTensor(image, affine=affine), lambda x: x)

    logits = result.logits()
    assert isinstance(logits, MetaTensor)
    torch.testing.assert_close(logits.affine, affine)
    assert _brightest(logits) == place
    # The coarse voxel that has most of the mark is the one that its world position falls into.
    coarse = result.mosaic.grid(0)
    world = affine @ torch.tensor([*place, 1.0], dtype=torch.float64)
    index = torch.linalg.solve(grid_affine(affine, size, coarse.shape[2:]), world)[:-1]
    offset = index - torch.tensor(_brightest(coarse), dtype=torch.float64)
    assert bool((offset.abs() <= 0.5 + 1e-6).all())


def _brightest(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(v) for v in (x[0, 0] == x[0, 0].max()).nonzero()[0])


def _world_of(affine: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in size], indexing="ij")
    index = torch.stack([*axes, torch.ones_like(axes[0])])
    return torch.einsum("ij,j...->i...", affine, index)[:-1]


# Law 8


@pytest.mark.parametrize("budget", [Budget(windows=0), Budget(operations=0.4), Budget.everywhere()], ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_reported_operations_are_the_counted_ones(dims: int, budget: Budget) -> None:
    size = (50, 61) if dims == 2 else (20, 33, 17)
    coarse = BasicUNet(spatial_dims=dims, in_channels=1, out_channels=2, features=(4, 4, 8, 8, 8, 4))
    body = UNet(spatial_dims=dims, in_channels=3, out_channels=2, channels=(4, 8, 16), strides=(2, 2))
    network = TwoStageNet(coarse, ResidualRefiner(body, channels=2), "logits").eval()
    inferer = IterativeInferer(16, 3, 0.5, levels=[4, Level(2, halo=2), 1], budget=budget)
    image = torch.randn(2, 1, *size)

    with FlopCounterMode(display=False) as counter:
        result = inferer.run(image, network)

    statistics = result.statistics
    assert statistics.operations > 0
    assert statistics.operations == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


@given(image=images(2, smallest=9))
def test_networks_that_see_points_agree_at_full_resolution(image: torch.Tensor) -> None:
    """With a network without neighbourhood, refined ground is the network's own answer, wherever windows lie."""
    network = PointNet(image.shape[1], 2)
    inferer = IterativeInferer(8, overlap=0.5, budget=Budget(windows=3), merge="replace")
    assume(min(image.shape[2:]) > 8)

    result = inferer.run(image, network)

    covered = result.mosaic.covered(1).expand(-1, 2, -1, -1)
    torch.testing.assert_close(result.logits()[covered], network(image)[covered].detach(), rtol=1e-5, atol=1e-5)
