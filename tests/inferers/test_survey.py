"""One pass for labels and counts: the same as from the composed answer, and nothing composed where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.calm import calm_ground
from monai_dis.inferers.grid import resample
from monai_dis.inferers.mosaic import Layer, Mosaic
from monai_dis.inferers.score import UNSURE_LOGIT, hard_labels, is_unsure, one_hot, uncertainty
from monai_dis.inferers.survey import field_tiles, survey
from monai_dis.inferers.tiles import covering_boxes, exact_boxes
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, cases


def calm_scene(classes: int, activation: str, size: tuple[int, ...], seed: int) -> torch.Tensor:
    """Coarse logits (2, classes, *size) of one class with some ground of another, and noise that changes nothing elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand((2, classes, *size), generator=generator) - 6
    if activation == "softmax":
        logits[:, 0] += 12
    where = tuple(slice(n // 4, n // 2 + 1) for n in size)
    logits[(0, slice(None), *where)] = 6 * torch.randn(
        (classes, *[w.stop - w.start for w in where]), generator=generator
    )
    return logits


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("coarse", "size"), [((40, 37), (650, 513)), ((20, 12, 15), (150, 96, 131)), ((30, 20), (233, 160))], ids=str
)
def test_labels_and_counts_are_those_of_the_composed_answer(
    classes: int, activation: str, coarse: tuple[int, ...], size: tuple[int, ...]
) -> None:
    if activation == "softmax" and classes == 1:
        pytest.skip("softmax has two classes or more")
    grid = tuple(-(-n // 2) for n in size)
    mosaic = Mosaic(calm_scene(classes, activation, coarse, 3), size, activation, [Layer(grid, (24,) * len(size))])
    mosaic.add_windows(
        1, [0, 1], [(5,) * len(size), (30,) * len(size)], 9 * torch.randn(2, classes, *(24,) * len(size))
    )
    score_size = tuple(min(2 * c, g) for c, g in zip(coarse, grid, strict=True))

    labels, counts = survey(mosaic, labels=True, score_size=score_size)
    none, alone = survey(mosaic, labels=False, score_size=score_size)

    assert labels is not None and counts is not None and none is None and alone is not None
    assert torch.equal(labels, hard_labels(mosaic.compose(), activation))
    assert torch.equal(labels, mosaic.labels())
    unsure = uncertainty(mosaic.on(score_size, 1), activation=activation) > 0.5
    before, after = (one_hot(x, activation) for x in (mosaic.on(grid, 0), mosaic.grid(1)))
    for got in (counts, alone):
        # Where an entropy is one half to the last bit, either answer is right.
        torch.testing.assert_close(got.unsure, unsure.flatten(1).sum(1).double(), rtol=0, atol=2)
        assert got.both.tolist() == (before & after).flatten(2).sum(2).tolist()
        assert got.either.tolist() == (before.flatten(2).sum(2) + after.flatten(2).sum(2)).tolist()


@given(case=cases(dims=(1, 2, 3)), windows=st.integers(0, 9), activation=st.sampled_from([None, "sigmoid"]))
def test_labels_are_those_of_the_logits(case: Case, windows: int, activation: str | None) -> None:
    network = FixedConv(case.dims, case.image.shape[1], case.classes)
    inferer = IterativeInferer(
        **{**case.windowing, "levels": [4, 1.5]}, budget=Budget(windows=windows), activation=activation
    )

    mosaic = inferer.run(8 * case.image, network).mosaic

    assert torch.equal(mosaic.labels(), hard_labels(mosaic.compose(), mosaic.activation))


@pytest.mark.parametrize(("activation", "classes"), [("sigmoid", 1), ("sigmoid", 3), ("softmax", 3)])
def test_nothing_is_composed_where_the_answer_is_known(activation: str, classes: int) -> None:
    coarse = torch.full((1, classes, 64, 64), -9.0)
    if activation == "softmax":
        coarse[:, 0] = 0.0
    coarse[0, -1, 10:20, 10:20] = 9.0
    mosaic = Mosaic(coarse, (1024, 1024), activation, [Layer((512, 512), (32, 32))])
    mosaic.add_windows(1, [0], [(300, 400)], torch.zeros(1, classes, 32, 32))

    tiles = field_tiles(mosaic, mosaic.size, (128, 128))
    calm = calm_ground(mosaic, tiles.need, unsure_known=True)

    # Tiles are 128 voxels wide: the square's outline crosses 4 of them, and the window reaches into 4 others or fewer.
    assert calm.calm.shape == (8, 8)
    assert int((~calm.calm).sum()) <= 8
    assert not calm.calm[4:6, 6:7].all()
    assert calm.unsure[0][calm.calm].sum() == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_numbers_are_not_known(value: float) -> None:
    for activation, classes in (("sigmoid", 1), ("softmax", 2)):
        coarse = torch.zeros(1, classes, 16, 16)
        coarse[:, -1] = 9
        coarse[0, 0, 3, 4] = value
        mosaic = Mosaic(coarse, (512, 512), activation, [Layer((256, 256), (32, 32))])

        assert torch.equal(mosaic.labels(), hard_labels(mosaic.compose(), activation))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_the_entropy_is_a_distance_from_zero(dtype: torch.dtype) -> None:
    logits = torch.linspace(-30, 30, 4001, dtype=dtype)[None, None]
    p = torch.sigmoid(logits.double())
    want = (torch.special.entr(p) + torch.special.entr(1 - p)) / math.log(2)

    torch.testing.assert_close(uncertainty(logits, activation="sigmoid").double(), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(is_unsure(logits, "sigmoid"), want > 0.5)
    assert is_unsure(torch.tensor([[[math.nan, math.inf, UNSURE_LOGIT - 1e-3]]]), "sigmoid").tolist() == [
        [[True, False, True]]
    ]
    assert uncertainty(torch.tensor([[[math.nan, math.inf, -math.inf]]]), activation="sigmoid").tolist() == [
        [[1, 0, 0]]
    ]


@given(
    marked=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=7), most=st.integers(1, 40)
)
def test_boxes_cover_what_is_marked_once(marked: list[list[bool]], most: int) -> None:
    mask = np.array(marked)
    edges = [np.arange(n + 1) * 3 for n in mask.shape]
    times = np.zeros(mask.shape, dtype=int)
    for box in covering_boxes(mask, edges, most):
        times[tuple(slice(a, b) for a, b in box)] += 1
        tiles = math.prod(b - a for a, b in box)
        assert tiles == 1 or 9 * tiles <= most
    assert times.max(initial=0) <= 1
    assert (times[mask] == 1).all()

    exact = np.zeros(mask.shape, dtype=int)
    for box in exact_boxes(mask):
        exact[tuple(slice(a, b) for a, b in box)] += 1
    assert (exact == mask).all()


def test_no_window_and_no_level_is_surveyed_too() -> None:
    mosaic = Mosaic(torch.randn(1, 3, 20, 21), (200, 150), "softmax")

    assert torch.equal(mosaic.labels(), resample(mosaic.coarse, (200, 150)).argmax(1, keepdim=True).to(torch.uint8))
