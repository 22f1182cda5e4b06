"""Windows of a resampled image have the bits of the whole, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.inferers import Budget, IterativeInferer, Level
from monai_dis.inferers import reading as reading_module
from monai_dis.inferers.grid import resample
from monai_dis.inferers.window_resampling import resample_windows
from monai_dis.testing.networks import FixedConv


@given(
    source=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    data=st.data(),
)
def test_windows_have_the_bits_of_the_whole(source: list[int], data: st.DataObject) -> None:
    """Whole and broken scales, up and down; windows that reach beyond the grid repeat its edge."""
    size = [data.draw(st.one_of(st.integers(1, 30), st.sampled_from([2 * n, 4 * n, max(1, n // 2)]))) for n in source]
    roi = [data.draw(st.integers(1, 12)) for _ in source]
    corners = np.array([[data.draw(st.integers(-3, n)) for n in size] for _ in range(5)])
    images = np.array([0, 1, 1, 0, 1])
    x = torch.randn(2, 3, *source, generator=torch.Generator().manual_seed(len(size)))

    got = resample_windows(x, size, images, corners, roi)

    whole = resample(x, size)
    for window, image, corner in zip(got, images, corners, strict=True):
        axes = [torch.arange(c, c + r).clamp(0, n - 1) for c, r, n in zip(corner, roi, size, strict=True)]
        index = torch.meshgrid(*axes, indexing="ij")
        assert torch.equal(window, whole[int(image)][(slice(None), *index)])


@pytest.mark.parametrize("scale", [2, 1.5])
def test_few_windows_do_not_bring_the_whole_image_to_their_grid(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    image, network = torch.randn(1, 1, 96, 80), FixedConv(2, 1, 2)
    inferer = IterativeInferer(8, 3, 0.5, levels=[8, Level(scale)], budget=Budget(windows=5))
    brought: list[tuple[int, ...]] = []

    def watched(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        brought.append(tuple(size))
        return resample(x, size)

    monkeypatch.setattr(reading_module, "resample", watched)
    few = inferer.run(image, network)
    assert brought == []

    # Asked for everything, it does: the same windows get the same answers.
    many = inferer.with_budget(None).run(image, network)
    assert len(brought) == 1
    places = dict(zip(many.mosaic.layers[0].corners, many.mosaic.layers[0].logits, strict=True))
    for corner, logits in zip(few.mosaic.layers[0].corners, few.mosaic.layers[0].logits, strict=True):
        torch.testing.assert_close(logits, places[corner], rtol=1e-6, atol=1e-5)
