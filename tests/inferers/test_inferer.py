"""The inferer's contract: what goes in, what comes out, and what it says when something does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from monai_dis.errors import BudgetError, DisError, ImageError, LevelError, NetworkError
from monai_dis.inferers import Budget, IterativeInferer, Level, iterative_inference
from monai_dis.inferers.grid import grid_size, resample
from monai_dis.inferers.plan import plan_sparse_levels
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import ConditioningNet, FixedConv


class Recorder(nn.Module):
    """Returns logits of a fixed value and remembers what it was given."""

    def __init__(self, value: float, channels: int = 1) -> None:
        super().__init__()
        self.value, self.channels = value, channels
        self.seen: list[tuple[Tensor, ...]] = []
        self.keywords: list[dict[str, Any]] = []

    def forward(self, *inputs: Tensor, **keywords: Any) -> Tensor:
        if not isinstance(inputs[0], torch._subclasses.FakeTensor):
            self.seen.append(inputs)
            self.keywords.append(keywords)
        x = inputs[0]
        return torch.full((x.shape[0], self.channels, *x.shape[2:]), self.value, dtype=x.dtype)


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


class Two(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.a, self.b = FixedConv(2, 1, 2, seed=1), FixedConv(2, 1, 3, seed=2)

    def forward(self, x: Tensor) -> Any:
        a, b = self.a(x), self.b(x)
        return {"dict": {"a": a, "b": b}, "tuple": (a, b), "list": [a, b]}[self.form]


@pytest.mark.parametrize("form", ["dict", "tuple", "list"])
def test_several_outputs_are_merged_with_the_same_windows(form: str) -> None:
    image = torch.randn(1, 1, 30, 41)
    network = Two(form)
    inferer = IterativeInferer(8, 2, 0.5, budget=Budget(windows=6))

    result = inferer.run(image, network)
    got = result.outputs()

    first, second = got.values() if form == "dict" else got
    assert isinstance(got, dict if form == "dict" else tuple)
    torch.testing.assert_close(first, inferer(image, network.a))
    assert second.shape == (1, 3, 30, 41)
    # Where windows cover, far from their borders, the second output is its network's own.
    covered = result.mosaic.covered(1)
    assert torch.equal(covered, result.mosaics[1].covered(1))


def test_a_meta_tensor_comes_back_with_its_geometry() -> None:
    affine = torch.tensor([[0, 2.0, 0, 5], [-3.0, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    image = MetaTensor(torch.randn(1, 1, 30, 41), affine=affine, meta={"filename_or_obj": "a.png"})
    inferer = IterativeInferer(8, budget=Budget(windows=3))
    network = FixedConv(2, 1, 2)

    for got in (
        inferer(image, network),
        inferer.run(image, network).labels(),
        inferer.run(image, network).uncertainty(),
    ):
        assert isinstance(got, MetaTensor)
        torch.testing.assert_close(got.affine, affine)
        assert got.meta["filename_or_obj"] == "a.png"
    assert torch.equal(inferer(image, network).as_tensor(), inferer(image.as_tensor(), network))


def test_networks_see_plain_tensors() -> None:
    network = TwoStageNet(Recorder(0.0), Recorder(1.0))

    IterativeInferer(8, budget=Budget(windows=1))(MetaTensor(torch.randn(1, 1, 16, 16)), network)

    assert not isinstance(network.coarse.seen[0][0], MetaTensor)
    assert not isinstance(network.refine.seen[0][0], MetaTensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_floating_types_survive(dtype: torch.dtype) -> None:
    image = torch.randn(1, 1, 30, 41).to(dtype)
    network = FixedConv(2, 1, 2).to(dtype)
    inferer = IterativeInferer(8, 2, 0.5, "gaussian", budget=Budget(windows=6))

    got = inferer(image, network)

    assert got.dtype == dtype
    want = inferer(image.float(), network.float())
    torch.testing.assert_close(got.float(), want, rtol=0.02, atol=0.1)


def test_an_integer_image_gives_float_logits() -> None:
    image = torch.randint(0, 255, (1, 1, 30, 41), dtype=torch.uint8)

    got = IterativeInferer(8, budget=Budget(windows=6))(image, FixedConv(2, 1, 2))

    assert got.dtype == torch.float32


def test_no_gradients_are_recorded() -> None:
    assert not IterativeInferer(8)(torch.randn(1, 1, 16, 16), FixedConv(2, 1, 2)).requires_grad


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


def test_labels_and_uncertainty_are_those_of_the_logits() -> None:
    image = torch.randn(2, 1, 30, 41)
    for classes, activation in ((3, None), (1, None), (3, "sigmoid")):
        result = IterativeInferer(8, budget=Budget(windows=6), activation=activation).run(
            image, FixedConv(2, 1, classes)
        )
        logits = result.logits()
        exclusive = classes > 1 and activation is None
        want = logits.argmax(1, keepdim=True) if exclusive else (logits > 0)
        assert torch.equal(result.labels(), want.to(torch.uint8))
        assert result.uncertainty().shape == (2, 1, 30, 41)


def test_statistics_are_plain_json_and_consistent() -> None:
    image = MetaTensor(torch.randn(2, 1, 40, 41), affine=torch.diag(torch.tensor([0.5, 2.0, 1.0])))
    result = IterativeInferer(8, 4, 0.5, budget=Budget(windows=5)).run(image, FixedConv(2, 1, 2))

    result.logits()
    statistics = result.statistics
    plain = json.loads(json.dumps(statistics.to_dict()))

    assert plain["windows_refined"] == len(plain["windows"]) == 10
    assert plain["windows_total"] == 2 * 9 * 10
    assert plain["operations"] == statistics.operations
    assert set(plain["seconds"]) == set(plain["calls"]) == {"coarse", "score", "select", "gather", "refine", "merge"}
    assert plain["calls"]["coarse"] == 1
    assert plain["calls"]["refine"] == 3
    # One convolution of 1 to 2 channels and 3 x 3 weights: 18 operations per voxel.
    assert plain["operations_coarse"] == 2 * 10 * 11 * 18
    assert plain["operations"] == (2 * 10 * 11 + 10 * 64) * 18
    assert plain["operations_full_pass"] == pytest.approx(2 * 40 * 41 * 18)
    assert plain["operations_sliding_window"] == 2 * 9 * 10 * 64 * 18
    for share, area in zip(plain["uncertain_left"], plain["uncertain_left_mm"], strict=True):
        assert area == pytest.approx(share * 40 * 0.5 * 41 * 2.0)


def test_dice_says_how_much_refinement_changed() -> None:
    image = torch.randn(1, 1, 32, 32)
    same = TwoStageNet(FixedConv(2, 1, 3), ConditioningNet(), "logits")
    other = TwoStageNet(Recorder(1.0), Recorder(-1.0))
    nothing = TwoStageNet(Recorder(-1.0), Recorder(-1.0))

    assert IterativeInferer(8).run(image, same).statistics.dice_coarse_refined == (1.0,)
    assert IterativeInferer(8).run(image, other).statistics.dice_coarse_refined == (0.0,)
    assert IterativeInferer(8).run(image, nothing).statistics.dice_coarse_refined == (1.0,)
    # Half of the ground is taken away: 2 * 1/2 / (1 + 1/2).
    half = IterativeInferer(16, overlap=0, budget=Budget(windows=2), merge="replace").run(image, other)
    assert half.statistics.dice_coarse_refined == pytest.approx((2 / 3,))


def test_what_stays_uncertain_is_what_no_window_covered() -> None:
    image = torch.randn(1, 1, 32, 32)
    network = TwoStageNet(Recorder(0.0), Recorder(20.0))
    inferer = IterativeInferer(16, overlap=0, budget=Budget(windows=1), merge="replace", coarse_scale=2)

    (left,) = inferer.run(image, network).statistics.uncertain_left

    assert left == 0.75


def test_windows_added_later_show_in_the_composed_answer() -> None:
    image = torch.randn(1, 1, 32, 32)
    result = IterativeInferer(8, budget=Budget(windows=0), merge="replace").run(image, FixedConv(2, 1, 2))
    before = result.logits()

    result.mosaic.add_windows(1, [0], [(4, 20)], torch.full((1, 2, 8, 8), 7.0))

    after = result.logits()
    assert bool((after[..., 4:12, 20:28] == 7).all())
    after[..., 4:12, 20:28] = before[..., 4:12, 20:28]
    assert torch.equal(after, before)


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    IterativeInferer(8, progress=True, budget=Budget(windows=3))(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))
    assert "level 1" in capsys.readouterr().err

    IterativeInferer(8, budget=Budget(windows=3))(torch.randn(1, 1, 32, 32), FixedConv(2, 1, 2))
    assert capsys.readouterr().err == ""


def test_a_budget_stops_each_image_on_its_own() -> None:
    """One image is certain everywhere, the other nowhere: a floor spends nothing on the first."""
    image = torch.stack([torch.full((1, 32, 32), 50.0), torch.zeros(1, 32, 32)])

    result = IterativeInferer(8, 3, 0, budget=Budget(min_score=0.5)).run(image, lambda x: x)

    assert {w.image for w in result.windows} == {1}
    assert len(result.windows) == 16


# What does not fit


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mode": "cubic"}, LevelError, "mode must be one of constant, gaussian, got 'cubic'"),
        ({"padding_mode": "zeros"}, LevelError, "padding_mode must be one of"),
        ({"roi_size": 8.5}, LevelError, "roi_size must be a whole number"),
        ({"roi_size": "96"}, LevelError, "roi_size must be a whole number"),
        ({"roi_size": ()}, LevelError, "roi_size must be a whole number"),
        ({"overlap": 1.0}, LevelError, "overlap must be 0 or more and below 1, got 1.0"),
        ({"overlap": (0.5, -0.1)}, LevelError, "overlap must be 0 or more"),
        (
            {"sw_batch_size": 0},
            LevelError,
            "sw_batch_size must be a whole number of 1 or more, or None to find one, got 0",
        ),
        ({"coarse_scale": 0.5}, LevelError, "scale must be 1 or more"),
        ({"levels": []}, LevelError, "levels must hold one level at least"),
        ({"levels": [{"scale": 4, "roi": 3}]}, LevelError, "a level has no entry 'roi'"),
        ({"levels": [Level, 1]}, LevelError, "a level must be a Level, a mapping or a scale"),
        ({"activation": "relu"}, LevelError, "activation must be one of softmax, sigmoid"),
        ({"score": "variance"}, LevelError, "score must be one of"),
        ({"selection": "random"}, LevelError, "selection must be one of coverage, ranked"),
        ({"merge": "max"}, LevelError, "merge must be one of blend, replace, entropy"),
        ({"aggregate": "median"}, LevelError, "aggregate must be one of mean, sum, max"),
        ({"budget": {"windows": -1}}, BudgetError, "budget windows must be a whole number of 0 or more, got -1"),
        ({"budget": {"windows": 1.5}}, BudgetError, "budget windows must be a whole number"),
        ({"budget": {"coverage": 1.5}}, BudgetError, "must lie in"),
        ({"budget": {"coverage": float("nan")}}, BudgetError, "budget coverage must be a finite number"),
        ({"budget": {"operations": "all"}}, BudgetError, "budget operations must be a finite number"),
        ({"budget": {"window": 3}}, BudgetError, "budget has no entry 'window'"),
        ({"budget": 3}, BudgetError, "budget must be a Budget, a mapping, 'auto' or None"),
    ],
)
def test_arguments_are_refused_at_construction(arguments: dict[str, Any], error: type[DisError], words: str) -> None:
    with pytest.raises(error, match=words):
        IterativeInferer(**{"roi_size": 8, **arguments})


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ({}, "either scale or spacing_mm"),
        ({"scale": 2, "spacing_mm": 1.0}, "either scale or spacing_mm"),
        ({"scale": 0}, "scale must be 1 or more"),
        ({"scale": (2, 0.1)}, "scale must be 1 or more"),
        ({"spacing_mm": 0.0}, "spacing_mm must be above 0"),
        ({"scale": 1, "halo": -1}, "halo must be 0 or more"),
        ({"scale": 1, "sw_batch_size": 0}, "sw_batch_size must be a whole number"),
        ({"scale": 1, "uses": "fine"}, "uses must be 'refine', 'coarse' or the index"),
    ],
)
def test_levels_are_refused_at_construction(level: dict[str, Any], words: str) -> None:
    with pytest.raises(LevelError, match=words):
        Level(**level)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": [2, 4]}, "levels go from coarse to fine"),
        ({"levels": [Level((4, 4, 4)), 1]}, "has 3 entries, the image has 2 spatial axes"),
        ({"levels": [Level(spacing_mm=3.0), 1]}, "needs a MetaTensor"),
        ({"roi_size": (8, 8, 8)}, r"roi_size \(8, 8, 8\) has 3 entries, the image has 2 spatial axes"),
        ({"overlap": (0.5, 0.5, 0.5)}, "has 3 entries, the image has 2 spatial axes"),
        ({"levels": [4, Level(1, halo=(1, 2, 3))]}, "has 3 entries, the image has 2 spatial axes"),
        ({"roi_size": 64, "padding_mode": "reflect"}, "cannot be padded"),
    ],
)
def test_what_does_not_fit_the_image_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(LevelError, match=words):
        IterativeInferer(**{"roi_size": 8, **arguments})(torch.randn(1, 1, 16, 16), FixedConv(2, 1, 2))


@pytest.mark.parametrize("shape", [(16, 16), (1, 1, 0, 4), (1, 1, 2, 2, 2, 2)], ids=str)
def test_inputs_that_are_no_batch_of_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="add the batch and channel axes"):
        IterativeInferer(8)(torch.zeros(shape), FixedConv(2, 1, 2))


class Odd(nn.Module):
    """Refine networks of the wrong kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        right = x[:, :1]
        return {
            "channels": torch.cat([right, right], 1),
            "size": right[..., ::2],
            "batch": torch.cat([right, right]),
            "tuple": (right, right),
            "text": "no",
        }[self.kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("channels", "returns 2 channels, the coarse network 1"),
        ("size", "must keep the number of inputs and their spatial size"),
        ("batch", "must keep the number of inputs"),
        ("tuple", "must answer in the form of the coarse network"),
        ("text", "must return a tensor"),
    ],
)
def test_networks_that_do_not_fit_are_refused(kind: str, words: str) -> None:
    network = TwoStageNet(FixedConv(2, 1, 1), Odd(kind))

    with pytest.raises(NetworkError, match=words):
        IterativeInferer(8)(torch.randn(1, 1, 16, 16), network)


def test_softmax_of_one_channel_is_refused() -> None:
    with pytest.raises(NetworkError, match="softmax"):
        IterativeInferer(8, activation="softmax")(torch.randn(1, 1, 16, 16), FixedConv(2, 1, 1))


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(NetworkError, match="network must be callable"):
        IterativeInferer(8)(torch.randn(1, 1, 16, 16), 3)  # type: ignore[arg-type]


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_accelerator_gives_the_same_answer() -> None:
    image, network = torch.randn(2, 1, 60, 71), FixedConv(2, 1, 3)
    inferer = IterativeInferer(16, 3, 0.5, "gaussian", levels=[4, 2, 1], budget=Budget(windows=6))
    want = inferer(image, network)

    network.cuda()
    torch.testing.assert_close(inferer(image.cuda(), network).cpu(), want, rtol=1e-4, atol=1e-4)
    mixed = IterativeInferer(
        16, 3, 0.5, "gaussian", sw_device="cuda", device="cpu", levels=[4, 2, 1], budget=Budget(windows=6)
    )(image, network)
    assert mixed.device.type == "cpu"
    torch.testing.assert_close(mixed, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "activation"), [(1, None), (3, None), (3, "sigmoid")])
def test_labels_in_place_of_logits(channels: int, activation: str | None) -> None:
    network = TwoStageNet(FixedConv(2, 1, channels), FixedConv(2, 1, channels, seed=1))
    inferer = IterativeInferer(8, 1, 0.25, levels=[4, 2], budget=Budget(windows=3), activation=activation)
    image = MetaTensor(torch.randn(1, 1, 40, 36), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))

    labels = inferer.replaced(output="labels")(image, network)

    logits = inferer(image, network)
    want = logits.argmax(1, keepdim=True) if channels == 3 and activation is None else logits > 0
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.as_tensor(), want.as_tensor().to(torch.uint8))
    assert len(labels.unique()) > 1
    assert torch.equal(labels.affine, image.affine)
