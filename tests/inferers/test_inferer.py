"""What the networks of the inferer see, level by level, and what of its settings decides it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from recorder import Recorder
from torch import Tensor, nn

from monai_dis.inferers import Budget, IterativeInferer, Level, iterative_inference
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.inferers.plan import plan_sparse_levels
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import FixedConv


def test_the_coarse_network_sees_the_small_image_and_the_refine_network_windows() -> None:
    image = torch.randn(1, 1, 32, 48)
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))

    result = IterativeInferer(8, 3, 0, coarse_scale=4, budget=Budget(windows=4)).run(image, network)

    ((small,),) = network.coarse.seen
    assert torch.equal(small, resample(image, (8, 12)))
    assert [w[0].shape[0] for w in network.refine.seen] == [3, 1]
    windows = torch.cat([w[0] for w in network.refine.seen])
    for window, record in zip(windows, result.windows, strict=True):
        a, b = record.corner
        assert torch.equal(window, image[0, :, a : a + 8, b : b + 8])


def test_a_halo_is_read_and_cut_off() -> None:
    image = torch.randn(1, 1, 32, 32)
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))
    levels = [4, Level(1, halo=(2, 3), merge="replace")]

    result = IterativeInferer(8, 1, 0, padding_mode="replicate", levels=levels, budget=Budget(windows=16)).run(
        image, network
    )

    padded = torch.nn.functional.pad(image, (3, 3, 2, 2), mode="replicate")
    for (window,), record in zip(network.refine.seen, result.windows, strict=True):
        a, b = record.corner
        assert torch.equal(window, padded[:, :, a : a + 12, b : b + 14])
    assert torch.equal(result.logits(), torch.ones(1, 1, 32, 32))


@pytest.mark.parametrize("shape", [(1, 1, 30, 41), (1, 2, 5, 30), (1, 1, 6, 14, 9)], ids=str)
def test_conditioning_is_the_level_below_on_the_same_window(shape: tuple[int, ...]) -> None:
    """Windows at every place, with halo and padding; beyond the image the edge is repeated."""
    image = torch.randn(shape)
    size = shape[2:]
    refine = Recorder(0.0, channels=2)
    network = TwoStageNet(FixedConv(len(size), shape[1], 2), refine, "logits")
    levels = [3, Level(1.5, halo=1)]

    result = IterativeInferer(8, 2, 0.5, levels=levels).run(image, network)

    grid = grid_size(size, 1.5)
    below = resample(result.mosaic.coarse, grid)
    given = torch.cat([conditioning for _, conditioning in refine.seen])
    for conditioning, record in zip(given, result.windows, strict=True):
        index = torch.meshgrid(
            *[torch.arange(c - 1, c + 9).clamp(0, n - 1) for c, n in zip(record.grid_corner, grid, strict=True)],
            indexing="ij",
        )
        assert torch.equal(conditioning, below[(0, slice(None), *index)])


def test_conditioning_holds_the_windows_of_the_level_between() -> None:
    image = torch.randn(1, 1, 32, 32)
    first, second = Recorder(5.0), Recorder(9.0)
    network = TwoStageNet(Recorder(0.0), [first, second], "logits")
    levels = [8, Level(2, merge="replace"), Level(1, roi_size=16)]

    result = IterativeInferer(8, 1, 0, levels=levels).run(image, network)

    assert all(bool((c == 0).all()) for _, c in first.seen)
    assert all(bool((c == 5).all()) for _, c in second.seen)
    assert bool((result.logits() == 9).all())


def test_one_refine_network_serves_all_levels_and_uses_picks_one() -> None:
    image = torch.randn(1, 1, 32, 32)
    shared = TwoStageNet(Recorder(0.0), Recorder(1.0))
    IterativeInferer(8, levels=[8, 2, 1]).run(image, shared)
    assert len(shared.refine.seen) > 16

    pair = TwoStageNet(Recorder(0.0), [Recorder(1.0), Recorder(2.0)])
    levels = [8, Level(2, uses=1, merge="replace"), Level(1, uses="coarse", budget=Budget(windows=0))]
    assert float(IterativeInferer(8, levels=levels)(image, pair).min()) == 2.0


def test_a_wrapped_pair_is_found() -> None:
    image = torch.randn(1, 1, 32, 32)
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    assert float(IterativeInferer(8, merge="replace")(image, Wrapper(network)).mean()) == 1.0


def test_further_arguments_reach_every_network() -> None:
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))

    IterativeInferer(8, budget=Budget(windows=1))(torch.randn(1, 1, 16, 16), network, torch.ones(1), flag=3)

    assert network.coarse.keywords == [{"flag": 3}]
    assert network.refine.keywords == [{"flag": 3}]
    assert len(network.refine.seen[0]) == 2


class Fussy(nn.Module):
    """Returns its input, and refuses sizes that are no multiples of eight."""

    def forward(self, x: Tensor) -> Tensor:
        if any(n % 8 for n in x.shape[2:]):
            raise ValueError("sizes must be multiples of 8")
        return x.clone()


def test_the_coarse_grid_is_padded_for_networks_that_refuse_its_size_and_cut_again() -> None:
    image = torch.randn(2, 1, 37, 90)

    got = IterativeInferer(8, coarse_scale=3, budget=Budget(windows=0))(image, Fussy())

    assert torch.equal(got, resample(resample(image, (13, 30)), (37, 90)))


@pytest.mark.parametrize(
    ("score", "scales", "want"),
    [
        pytest.param("entropy", [8, 1], (16, 24), id="twice-the-level-below"),
        pytest.param("entropy", [4, 3], (22, 32), id="never-above-the-level"),
        pytest.param("poster", [8, 1], (8, 12), id="the-posters-mean-needs-no-more"),
    ],
)
def test_the_grid_of_the_score(score: str, scales: list[float], want: tuple[int, ...]) -> None:
    image = torch.zeros(1, 1, 64, 96)
    settings = IterativeInferer(8, levels=scales, score=score).settings

    (plan,) = plan_sparse_levels(settings, image)

    assert plan.score_grid(grid_size((64, 96), scales[0])) == want


def test_a_boundary_between_certain_voxels_is_seen() -> None:
    """Left half -4, right half 4: interpolation shows where they meet, so those windows come first."""
    image = torch.cat([torch.full((1, 1, 32, 16), -4.0), torch.full((1, 1, 32, 16), 4.0)], dim=3)

    result = IterativeInferer(8, overlap=0, budget=Budget(windows=8)).run(image, lambda x: x)

    assert {w.corner[1] for w in result.windows} == {8, 16}


# Forms of answers


def test_a_level_in_millimetres_makes_grids_isotropic() -> None:
    image = MetaTensor(torch.randn(1, 1, 40, 40, 10), affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))

    result = IterativeInferer(
        8, levels=[Level(spacing_mm=4.0), Level(spacing_mm=2.0), 1], budget=Budget(windows=2)
    ).run(image, FixedConv(3, 1, 2))

    assert [result.mosaic.grid_size(level) for level in range(3)] == [(10, 10, 10), (20, 20, 10), (40, 40, 10)]


def test_a_single_dense_level_is_the_coarse_answer() -> None:
    image, network = torch.randn(1, 1, 30, 41), FixedConv(2, 1, 2)

    result = IterativeInferer(8, levels=[3]).run(image, network)

    assert torch.equal(result.logits(), IterativeInferer(8, coarse_scale=3, budget=Budget(windows=0))(image, network))
    assert result.statistics.windows == ()


def test_the_posters_setting() -> None:
    """Contiguous windows, N of N^2, by abs(mean(p) - 0.5), replaced: at most 1 / N of the image is new."""
    n = 4
    image = torch.randn(1, 3, 64, 64)
    network = TwoStageNet(FixedConv(2, 3, 1, seed=1), FixedConv(2, 3, 1, seed=2))
    inferer = IterativeInferer(
        roi_size=(64 // n, 64 // n),
        overlap=0,
        levels=[Level(8), Level(1, selection="ranked", score="poster", merge="replace")],
        budget=Budget(windows=n),
    )

    result = inferer.run(image, network)

    with torch.no_grad():
        coarse = network.coarse(resample(image, (8, 8)))
        blocks = coarse.sigmoid()[0, 0].reshape(n, 2, n, 2).mean(dim=(1, 3)).reshape(-1)
        order = (blocks - 0.5).abs().argsort()[:n]
    assert [w.corner for w in result.windows] == [(int(i) // n * 16, int(i) % n * 16) for i in order]
    want = resample(coarse, (64, 64))
    for window in result.windows:
        a, b = window.corner
        with torch.no_grad():
            want[:, :, a : a + 16, b : b + 16] = network.refine(image[:, :, a : a + 16, b : b + 16])
    torch.testing.assert_close(result.logits(), want)
    assert float(result.mosaic.covered(1).float().mean()) == 1 / n


# Results


def test_a_budget_stops_each_image_on_its_own() -> None:
    """One image is certain everywhere, the other nowhere: a floor spends nothing on the first."""
    image = torch.stack([torch.full((1, 32, 32), 50.0), torch.zeros(1, 32, 32)])

    result = IterativeInferer(8, 3, 0, budget=Budget(min_score=0.5)).run(image, lambda x: x)

    assert {w.image for w in result.windows} == {1}
    assert len(result.windows) == 16


# What does not fit


def test_the_function_is_the_inferer() -> None:
    image, network = torch.randn(1, 1, 30, 41), FixedConv(2, 1, 2)
    options: dict[str, Any] = {"budget": {"windows": 4}, "levels": [4, {"scale": 1}], "score": "margin"}

    assert torch.equal(
        iterative_inference(image, 8, 2, network, 0.5, **options),
        IterativeInferer(8, 2, 0.5, **options)(image, network),
    )


def test_another_budget_leaves_the_rest_and_the_first_inferer_alone() -> None:
    image, network = torch.randn(1, 1, 30, 41), FixedConv(2, 1, 2)
    inferer = IterativeInferer(8, 2, 0.5, budget=Budget(windows=4), score="margin")

    other = inferer.with_budget({"windows": 2})

    assert (inferer.budget, other.budget) == (Budget(windows=4), Budget(windows=2))
    assert other.levels == inferer.levels
    want = IterativeInferer(8, 2, 0.5, budget=Budget(windows=2), score="margin")(image, network)
    assert torch.equal(other(image, network), want)
