"""The same algorithm through MONAI's ``PatchInferer``."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from monai.inferers import AvgMerger, PatchInferer

from monai_dis.errors import BudgetError, LevelError, NetworkError
from monai_dis.inferers import Budget, DisMerger, DisSplitter, IterativeInferer
from monai_dis.networks import TwoStageNet
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, cases


@given(case=cases())
def test_one_image_is_what_the_inferer_makes_of_it(case: Case) -> None:
    image = case.image[:1]
    coarse, refine = (FixedConv(case.dims, image.shape[1], case.classes, seed=s) for s in (1, 2))
    budget = Budget(windows=3)
    splitter = DisSplitter(case.roi_size, coarse, case.coarse_scale, case.overlap, budget=budget, pad_mode="replicate")

    with torch.no_grad():
        got = PatchInferer(splitter, DisMerger, batch_size=2, coarse=splitter, mode=case.mode)(image, refine)

    if all(n >= r for n, r in zip(image.shape[2:], case.roi_size, strict=True)):
        want = IterativeInferer(**case.windowing, budget=budget)(image, TwoStageNet(coarse, refine))
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert got.shape == (1, case.classes, *image.shape[2:])


def test_ground_without_windows_has_the_coarse_answer_and_not_nan() -> None:
    image = torch.randn(2, 1, 32, 32)
    coarse, refine = FixedConv(2, 1, 2, seed=1), FixedConv(2, 1, 2, seed=2)
    splitter = DisSplitter(8, coarse, budget=Budget(windows=2))

    with torch.no_grad():
        got = PatchInferer(splitter, DisMerger, coarse=splitter, merge="replace")(image, refine)
        monai = PatchInferer(splitter, AvgMerger)(image, refine)

    skipped = monai.isnan()
    assert 0 < int(skipped.sum()) < skipped.numel()
    assert torch.equal(got[skipped], splitter.coarse.compose()[skipped])
    torch.testing.assert_close(got[~skipped], monai[~skipped])


def test_everywhere_is_the_whole_image_in_windows() -> None:
    image = torch.randn(1, 1, 32, 24)
    splitter = DisSplitter(8, FixedConv(2, 1, 1))

    locations = [location for _, location in splitter(image)]

    assert sorted(locations) == [(a, b) for a in range(0, 32, 8) for b in range(0, 24, 8)]


def test_a_window_is_chosen_by_the_image_that_needs_it_most() -> None:
    """Each image is uncertain in one window only; both windows come before all others."""
    image = torch.full((2, 1, 32, 32), 50.0)
    image[0, :, :8, :8] = 0
    image[1, :, 24:, 16:24] = 0
    splitter = DisSplitter(8, lambda x: x, budget=Budget(windows=2))

    assert {location for _, location in splitter(image)} == {(0, 0), (24, 16)}


def test_one_window_is_yielded_at_least() -> None:
    splitter = DisSplitter(8, FixedConv(2, 1, 1), budget=Budget(windows=0))

    assert len(list(splitter(torch.randn(1, 1, 32, 32)))) == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BudgetError, match="does not know the refine network"):
        DisSplitter(8, FixedConv(2, 1, 1), budget=Budget(operations=0.1))
    splitter = DisSplitter(8, FixedConv(2, 1, 1))
    with pytest.raises(RuntimeError, match="no coarse answer"):
        _ = splitter.coarse
    list(splitter(torch.randn(1, 1, 16, 16)))
    with pytest.raises(NetworkError, match="both must have the same classes"):
        DisMerger((1, 2, 16, 16), coarse=splitter)
    with pytest.raises(LevelError, match="merge must be one of"):
        DisMerger((1, 1, 16, 16), coarse=splitter, merge="average")
    merger = DisMerger((1, 1, 16, 16), coarse=splitter)
    merger.finalize()
    with pytest.raises(ValueError, match="finalized already"):
        merger.aggregate(torch.zeros(1, 1, 8, 8), (0, 0))
