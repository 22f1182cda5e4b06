"""IDRiD: lesion types that overlap, in the official download in miniature and in the simple layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_layouts import IDRID_MASKS, MASK, make_idrid, make_simple, save
from PIL import Image

from monai_dis.data import LoadLabeld, ReadImaged, read_dataset
from monai_dis.data.idrid import IDRID_LESIONS, read_idrid
from monai_dis.errors import DataError

TRUTH = "2. All Segmentation Groundtruths"
INDEX = np.array([[0, 1, 2], [3, 0, 4]], dtype=np.uint8)


def _masks(item: dict[str, Any]) -> np.ndarray:
    """(C, rows, columns)."""
    label = LoadLabeld("label")(ReadImaged("image")(item))["label"]
    assert label.dtype == torch.uint8
    return np.asarray(label.transpose(1, 2))


@pytest.mark.parametrize("above", [False, True], ids=["a-segmentation", "folder-above"])
def test_the_official_download_gives_a_mask_for_each_type(tmp_path: Path, above: bool) -> None:
    home = make_idrid(tmp_path)
    data = read_dataset("idrid", tmp_path if above else home)
    assert [case.name for case in data.cases] == [f"IDRiD_{n:02d}" for n in (1, 2, 3, 4, 5, 6, 55, 56, 57)]
    assert data.label_names == ("background", *IDRID_LESIONS)
    for item in data.datalist("all"):
        masks = _masks(item)
        assert masks.shape == (4, 2, 3)
        for mask, expected in zip(masks, IDRID_MASKS.values(), strict=False):
            np.testing.assert_array_equal(mask, np.zeros_like(MASK) if expected is None else expected)


def test_the_official_testing_part_never_trains(tmp_path: Path) -> None:
    data = read_dataset("idrid", make_idrid(tmp_path))
    assert data.val == ("IDRiD_05",)  # one of the names that this project was developed with
    assert data.train == ("IDRiD_01", "IDRiD_02", "IDRiD_03", "IDRiD_04", "IDRiD_06")
    assert data.test == ("IDRiD_55", "IDRiD_56", "IDRiD_57")
    assert [item["name"] for item in data.datalist("test")] == list(data.test)


def test_splits_json_may_name_cases_of_both_parts(tmp_path: Path) -> None:
    home = make_idrid(tmp_path)
    (home / "splits.json").write_text(json.dumps({"train": ["IDRiD_01", "IDRiD_55"], "val": ["IDRiD_56"]}))
    data = read_dataset("idrid", home)
    assert (data.train, data.val, data.test) == (("IDRiD_01", "IDRiD_55"), ("IDRiD_56",), ("IDRiD_57",))


def test_the_testing_part_may_come_without_masks_or_not_at_all(tmp_path: Path) -> None:
    home = make_idrid(tmp_path)
    shutil.rmtree(home / TRUTH / "b. Testing Set")
    data = read_dataset("idrid", home)
    assert len(data) == 9
    assert data.test == ()
    assert "label" not in data.datalist("all")[-1]
    shutil.rmtree(home / "1. Original Images" / "b. Testing Set")
    assert len(read_dataset("idrid", home)) == 6


def test_the_one_mask_in_colour_is_red_where_the_lesion_is(tmp_path: Path) -> None:
    home = make_idrid(tmp_path)
    painted = np.zeros((2, 3, 4), dtype=np.uint8)
    painted[..., 3] = 255  # opaque everywhere, as in the file of the official download
    painted[1, 2, 0] = 255
    path = home / TRUTH / "b. Testing Set" / "3. Hard Exudates" / "IDRiD_56_EX.tif"
    Image.fromarray(painted, "RGBA").save(path)
    item = read_dataset("idrid", home).datalist("test")[1]
    np.testing.assert_array_equal(_masks(item)[2], [[0, 0, 0], [0, 0, 1]])


def test_the_optic_disc_is_a_fifth_class_on_request(tmp_path: Path) -> None:
    data = read_idrid(make_idrid(tmp_path), optic_disc=True)
    assert data.label_names[-1] == "optic disc"
    masks = _masks(data.datalist("val")[0])
    assert masks.shape == (5, 2, 3)
    np.testing.assert_array_equal(masks[4], IDRID_MASKS["5. Optic Disc/{}_OD.tif"])


def test_the_simple_layout_parts_the_index_in_masks(tmp_path: Path) -> None:
    make_simple(tmp_path, ("IDRiD_05", "IDRiD_06"), mask=INDEX)
    data = read_dataset("idrid", tmp_path)
    assert (data.train, data.val, data.test) == (("IDRiD_06",), ("IDRiD_05",), ())
    np.testing.assert_array_equal(_masks(data.datalist("val")[0]), [index == INDEX for index in (1, 2, 3, 4)])
    with pytest.raises(DataError, match="holds no masks of the optic disc"):
        read_idrid(tmp_path, optic_disc=True)


def test_an_index_beyond_the_types_is_refused(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b"), mask=INDEX + 1)
    with pytest.raises(DataError, match="holds 5, and the classes are 0 to 4"):
        _masks(read_dataset("idrid", tmp_path).datalist("all")[0])


def test_an_image_without_any_lesion(tmp_path: Path) -> None:
    home = make_idrid(tmp_path, testing=range(55, 56))
    for path in (home / TRUTH / "b. Testing Set").glob("*/IDRiD_55_*.tif"):
        path.unlink()
    (item,) = read_dataset("idrid", home).datalist("test")
    assert _masks(item).tolist() == np.zeros((4, 2, 3)).tolist()
    # As the evaluation reads it: the image's size is looked up in its file.
    assert LoadLabeld("label")(item)["label"].shape == (4, 3, 2)


def test_a_missing_folder_of_masks_is_no_absent_lesion(tmp_path: Path) -> None:
    home = make_idrid(tmp_path)
    shutil.rmtree(home / TRUTH / "a. Training Set" / "4. Soft Exudates")
    with pytest.raises(DataError, match=r"a\. Training Set lacks the folder 4\. Soft Exudates"):
        read_dataset("idrid", home)


def test_a_mask_without_its_image(tmp_path: Path) -> None:
    home = make_idrid(tmp_path)
    (home / "1. Original Images" / "a. Training Set" / "IDRiD_03.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of 6 masks in .*1\. Microaneurysms have no image \(first: IDRiD_03_MA\.tif"
    ):
        read_dataset("idrid", home)


def test_a_wrong_folder_names_both_layouts(tmp_path: Path) -> None:
    save(tmp_path / "B. Disease Grading" / "IDRiD_001.jpg", MASK)
    with pytest.raises(
        DataError, match=r"expected 1\. Original Images/.*; or images/NAME.*; found B\. Disease Grading/\."
    ):
        read_dataset("idrid", tmp_path)
