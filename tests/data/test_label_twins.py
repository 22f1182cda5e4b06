"""Every path that reads labels makes the same of the same file, or refuses it with the same sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from label_cases import LABEL_CASES, LabelCase
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, Orientationd, ScaleIntensityRanged
from torch import nn

from monai_dis.data import LoadLabeld, ReadImaged, labelled_dataset, read_image
from monai_dis.engines import Evaluation
from monai_dis.errors import DisError, ImageError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.label.submitted import check_submitted
from monai_dis.pipeline.model import Model

Read = Callable[[LabelCase, Path], np.ndarray]


def training(case: LabelCase, folder: Path) -> np.ndarray:
    """As a stage does: all labels are checked, then each is read beside its image."""
    case.make(folder)
    how = {"label_map": case.label_map, "geometry": case.geometry}
    (item,) = labelled_dataset("folder", folder, case.classes, **how).datalist("train")
    load = Compose([ReadImaged("image"), LoadLabeld("label", case.classes, **how)])
    return load(item)["label"].numpy()[0]


def training_without_image(case: LabelCase, folder: Path) -> np.ndarray:
    """As the stages do that need the label alone: the image is a path."""
    image, label = case.make(folder)
    load = LoadLabeld("label", case.classes, "volume", label_map=case.label_map, geometry=case.geometry)
    return load({"label": str(label), "volume": str(image)})["label"].numpy()[0]


def evaluation(case: LabelCase, folder: Path) -> np.ndarray:
    """The answer is known and is the truth, so that a Dice of 1 says that the label is read as it."""
    image, label = case.make(folder)
    pre, post, network, inferer = _parts(case)
    arguments = {"label_map": case.label_map, "label_geometry": case.geometry, "device": "cpu", "split": "all"}
    results = Evaluation(
        network, inferer, pre, post, [{"image": image, "label": label}], folder / "out", **arguments
    ).run()
    assert [row["dice"] for row in results["rows"]] == [1.0]
    return case.truth


def label_server(case: LabelCase, folder: Path) -> np.ndarray:
    """As the server reads what a viewer submits; it has no map, since viewers mark the classes of the model."""
    image, label = case.make(folder)
    pre, post, network, inferer = _parts(case)
    names = {index: str(index) for index in range(1, case.classes)}
    made = Model.of_parts(network, inferer, pre, post, classes=names, device="cpu")
    return replace(made, label_geometry=case.geometry).label_of(label, read_image(image)).numpy()[0]


def desk(case: LabelCase, folder: Path) -> np.ndarray:
    """As the server checks a label when it comes; nothing to mark is said to be meant."""
    image, label = case.make(folder)
    bundles = {"bundle": {index: str(index) for index in range(1, case.classes)}}
    return check_submitted(label, read_image(image), {"empty": True}, bundles, case.geometry).labels


PATHS = (training, training_without_image, evaluation, label_server, desk)
ROWS = [
    pytest.param(case, path, id=f"{case.name}-{path.__name__}")
    for case in LABEL_CASES
    for path in PATHS
    if not (case.label_map and path in (label_server, desk))
]


@pytest.mark.parametrize(("case", "path"), ROWS)
def test_twins(case: LabelCase, path: Read, tmp_path: Path) -> None:
    if not case.refused:
        np.testing.assert_array_equal(path(case, tmp_path), case.truth)
        return
    with pytest.raises(DisError) as error:
        path(case, tmp_path)
    # A reader at a desk has no map of numbers to give: the sentence about unknown ones names the classes.
    values = path is desk and "0 to" in case.refused
    assert re.search("is no class of bundle; its classes are" if values else case.refused, str(error.value)), str(
        error.value
    )


def test_the_case_that_fails_is_the_one_that_is_named(tmp_path: Path) -> None:
    case = next(case for case in LABEL_CASES if case.name == "shifted")
    with pytest.raises(ImageError, match=r"(?s)1 of 1 images.*labels/case\.nii\.gz does not lie on its image"):
        evaluation(case, tmp_path)


def _parts(case: LabelCase) -> tuple[Compose, Compose, nn.Module, IterativeInferer]:
    """What calls brightness from 64 on class 1 and from 192 on class 2; of a picture, from 128 on."""
    dims = 2 if case.picture else 3
    network: nn.Module
    if dims == 2:
        network = nn.Conv2d(3, 1, 1)
        weight, bias = torch.full((1, 3, 1, 1), 20 / 3), torch.full((1,), -10.0)
    else:
        network = nn.Conv3d(1, 3, 1)
        weight, bias = torch.tensor([0.0, 40, 80]).reshape(3, 1, 1, 1, 1), torch.tensor([0.0, -10, -40])
    network.load_state_dict({"weight": weight, "bias": bias})
    turned = [] if dims == 2 else [Orientationd("image", axcodes="RAS", labels=None)]
    pre = Compose([ReadImaged("image"), *turned, ScaleIntensityRanged("image", 0, 255, 0, 1)])
    made = [AsDiscreted("pred", threshold=0.5)] if dims == 2 else [AsDiscreted("pred", argmax=True)]
    act = Activationsd("pred", sigmoid=dims == 2, softmax=dims == 3)
    back = Invertd("pred", transform=pre, orig_keys="image", nearest_interp=False, to_tensor=True)
    inferer = IterativeInferer((8,) * dims, overlap=0, levels=[2, 1], budget=Budget(coverage=1.0))
    return pre, Compose([back, act, *made]), network, inferer
