"""What one training stage leaves for the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from monai_dis.engines.stage_maps import class_shares, realised_gain, with_maps, write_coarse, write_gain, write_refined
from monai_dis.errors import DataError
from monai_dis.networks import GatedRefiner, VoxelGate

SURE = 200.0


def test_maps_are_kept_by_name_and_asked_for(tmp_path: Path) -> None:
    items = [{"image": torch.full((1, 4, 4), float(i)), "name": f"case{i}"} for i in range(2)]
    write_coarse(nn.Identity(), items, tmp_path)
    listed = with_maps([{"name": "case1"}], coarse=tmp_path)
    assert np.array_equal(np.load(listed[0]["coarse"]), np.ones((1, 4, 4), dtype=np.float32))
    with pytest.raises(DataError, match=r"1 of 2 cases have no out-of-fold coarse answer .*first: case9"):
        with_maps([{"name": "case0"}, {"name": "case9"}], coarse=tmp_path)


def test_refined_answers_see_the_image_and_the_answer_below(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, window: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
            return window.sum(1, keepdim=True) + conditioning

    item = {"image": torch.ones(3, 8, 6), "coarse": torch.full((2, 4, 3), 5.0), "name": "one"}
    write_refined(Sum(), [item], tmp_path, SlidingWindowInferer((4, 4), overlap=0.5))

    refined = np.load(tmp_path / "one.npy")
    assert refined.shape == (2, 8, 6) and refined.dtype == np.float16
    assert np.unique(refined).tolist() == [8.0]


def test_a_refine_network_of_images_alone_needs_no_answer_below(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, window: torch.Tensor) -> torch.Tensor:
            return window.sum(1, keepdim=True)

    write_refined(
        Sum(), [{"image": torch.ones(3, 8, 6), "name": "one"}], tmp_path, SlidingWindowInferer((4, 4), overlap=0.5)
    )

    assert np.unique(np.load(tmp_path / "one.npy")).tolist() == [3.0]


def test_realised_gain_by_hand() -> None:
    """Cells: made right; stayed right; spoilt; half of it foreground, from none to a half, of which a quarter was the error."""
    coarse = torch.tensor([[[-SURE, SURE, -SURE, -SURE]]])
    refined = torch.tensor([[[SURE, SURE, SURE, 0.0]]])
    label = torch.tensor([[[1, 1, 1, 1, 0, 0, 1, 0]]])

    assert realised_gain(coarse, refined, label).tolist() == [[[1.0, 0.0, -1.0, 0.25]]]


def test_the_gain_of_a_small_class_counts_as_much(tmp_path: Path) -> None:
    """Eight cells of the first class are made right, one of the second: both sum to one half."""
    label = torch.zeros(2, 4, 4)
    label[0, :2] = 1
    label[1, 3, 3] = 1
    item = {
        "coarse": torch.full((2, 4, 4), -SURE),
        "refined": (2 * label - 1) * SURE,
        "label": label,
        "name": "one",
    }
    write_gain(GatedRefiner(nn.Identity(), VoxelGate(2), conditioned=False), [item], tmp_path)

    gain = torch.as_tensor(np.load(tmp_path / "one.npy"))
    assert gain.shape == (1, 4, 4)
    # A gate that lets the refined answer stand passes on a share of 0.95 of it in logits, and all of its sign.
    assert float(gain[0, :2].sum()) == pytest.approx(float(gain[0, 3, 3]), rel=1e-5)
    assert float(gain[0, 2].abs().sum()) == 0.0


def test_classes_that_exclude_each_other(tmp_path: Path) -> None:
    """A row taken for background becomes the second class: both classes gain there, and nothing elsewhere."""
    label = torch.zeros(1, 4, 4)
    label[0, 1] = 2
    coarse, refined = torch.full((3, 4, 4), -SURE), torch.full((3, 4, 4), -SURE)
    coarse[0] = SURE
    refined[0], refined[0, 1], refined[2, 1] = SURE, -SURE, SURE
    item = {"coarse": coarse, "refined": refined, "label": label, "name": "one"}
    write_gain(GatedRefiner(nn.Identity(), VoxelGate(3), conditioned=False), [item], tmp_path, activation="softmax")
    gain = torch.as_tensor(np.load(tmp_path / "one.npy"))
    assert gain[0].sum(1).tolist() == pytest.approx([0, 4, 0, 0], abs=1e-5)  # a gain of 1 in each cell
    assert class_shares(label, 3, (2, 1)).flatten().tolist() == [0.5, 1.0, 0.0, 0.0, 0.5, 0.0]


def test_there_must_be_something_to_measure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no case to measure"):
        write_gain(GatedRefiner(nn.Identity(), VoxelGate(2), conditioned=False), [], tmp_path)
