"""Maps of the places where training windows should lie."""

from __future__ import annotations

import pytest
import torch

from monai_dis.errors import DataError
from monai_dis.transforms import CentreWeightsd


def test_uncertain_and_wrong_of_one_class() -> None:
    label = torch.tensor([[[1, 1, 0, 0], [1, 1, 0, 0]]])
    logits = torch.tensor([[[-200.0, 0.0]]])  # surely background where all is foreground; a coin toss where nothing is

    centres = CentreWeightsd(["uncertain", "wrong"], "coarse")({"label": label, "coarse": logits})["centres"]

    assert centres.tolist() == [[[0.0, 1.0]], [[1.0, 0.5]]]


def test_exclusive_classes() -> None:
    label = torch.tensor([[[0, 2]]])
    p = torch.tensor([[[0.5, 0.25]], [[0.5, 0.25]], [[1e-30, 0.5]]])

    centres = CentreWeightsd(["uncertain", "wrong"], "coarse")({"label": label, "coarse": p.log()})["centres"]

    torch.testing.assert_close(centres, torch.tensor([[[1.0, 0.75]], [[0.5, 0.5]]]))


def test_a_small_class_weighs_as_much_as_a_large_one() -> None:
    label = torch.zeros(3, 8, 8, dtype=torch.uint8)
    label[0, :4] = 1  # 32 pixels
    label[1, 7, 7] = 1  # one pixel; the third class is absent

    (foreground,) = CentreWeightsd(["foreground"], grid=(8, 8))({"label": label})["centres"]

    assert foreground[:4].sum() == pytest.approx(float(foreground[7, 7]))
    assert float(foreground.max()) == 1.0
    assert float(foreground[4:7].sum()) == 0.0


def test_overlapping_classes_are_wrong_each_on_its_own() -> None:
    label = torch.zeros(2, 4, 4, dtype=torch.uint8)
    label[0, 0, 0] = label[1, 3, 3] = 1
    logits = torch.full((2, 4, 4), -200.0)
    logits[0, 0, 0] = 200.0  # the first class is found, the second missed

    uncertain, wrong = CentreWeightsd(["uncertain", "wrong"], "coarse")({"label": label, "coarse": logits})["centres"]

    assert int(wrong.flatten().argmax()) == 15 and float(wrong.sum()) == 1.0
    assert float(uncertain.sum()) == 0.0


def test_an_empty_label_weighs_nothing() -> None:
    centres = CentreWeightsd(["foreground"], grid=(2, 2))({"label": torch.zeros(4, 8, 8)})["centres"]
    assert centres.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


@pytest.mark.parametrize(
    "bad",
    [{"reasons": ["pretty"]}, {"reasons": []}, {"reasons": ["wrong"], "grid": [2, 2]}, {"reasons": ["foreground"]}],
)
def test_nonsense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(DataError):
        CentreWeightsd(**bad)  # type: ignore[arg-type]


def test_a_class_can_weigh_more_where_it_is_present() -> None:
    label = torch.zeros(2, 4, 4)
    label[0, 0, 0] = label[1, 3, 3] = 1
    weights = CentreWeightsd(["foreground"], grid=(4, 4), class_weights=[1, 3])({"label": label})["centres"][0]
    assert weights[3, 3] == 3 * weights[0, 0] > 0
    assert weights.sum() == weights[3, 3] + weights[0, 0]
