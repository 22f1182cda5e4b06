"""The rule for ground without tissue, on a table that a person can check."""

from __future__ import annotations

import numpy as np
import pytest

from monai_dis.slides.tissue import find_tissue


@pytest.mark.parametrize(
    ("colour", "is_tissue"),
    [
        pytest.param((240, 240, 240), False, id="glass"),
        pytest.param((225, 225, 243), False, id="glass-at-its-limits"),
        pytest.param((224, 230, 230), True, id="darker-than-glass"),
        pytest.param((225, 225, 244), True, id="more-colour-than-glass"),
        pytest.param((14, 14, 14), False, id="dark-border"),
        pytest.param((15, 0, 0), True, id="brighter-than-the-border"),
        pytest.param((180, 90, 140), True, id="stain"),
    ],
)
def test_one_colour(colour: tuple[int, int, int], is_tissue: bool) -> None:
    assert bool(find_tissue(np.tile(np.uint8(colour)[:, None, None], (1, 5, 4))).mask.all()) is is_tissue
    assert bool(find_tissue(np.tile(np.uint8(colour)[:, None, None], (1, 5, 4))).mask.any()) is is_tissue


def test_one_pixel_around_tissue_counts_as_tissue() -> None:
    overview = np.full((3, 6, 5), 250, dtype=np.uint8)
    overview[:, 2, 1] = 120
    tissue = find_tissue(overview)
    assert tissue.mask.astype(int).T.tolist() == [
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert tissue.share == pytest.approx(9 / 30)
    # on a grid of ten times as many columns and rows, column 40 is the first that shows nothing of it
    assert tissue.meets((slice(39, 60), slice(0, 50)), (60, 50))
    assert not tissue.meets((slice(40, 60), slice(0, 50)), (60, 50))


@pytest.mark.parametrize("shape", [(1, 4, 4), (5, 4, 4)], ids=["grey", "stains"])
def test_other_images_are_looked_at_everywhere(shape: tuple[int, int, int]) -> None:
    assert find_tissue(np.zeros(shape, dtype=np.uint8)).share == 1
    assert find_tissue(np.zeros((3, 4, 4), dtype=np.uint16)).share == 1
