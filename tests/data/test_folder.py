"""A user's own data: partners, duplicates, splits, folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_layouts import IMAGE, MASK, make_simple, save

from monai_dis.data import Dataset, read_dataset
from monai_dis.errors import DataError

NAMES = tuple(f"case{n:02d}" for n in range(12))


def test_without_a_split_file_a_quarter_validates_and_stays_the_same(tmp_path: Path) -> None:
    data = read_dataset("folder", make_simple(tmp_path, NAMES))
    again = read_dataset("folder", tmp_path)
    assert (len(data.train), len(data.val)) == (9, 3)
    assert data == again
    assert data.val == ("case01", "case08", "case09")  # drawn with a fixed seed: the same on every machine


def test_one_case_trains(tmp_path: Path) -> None:
    data = read_dataset("folder", make_simple(tmp_path, ("only",)))
    assert (data.train, data.val) == (("only",), ())


def test_splits_json_decides(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c", "d"))
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["d", "a"], "val": ["b"], "note": "c is kept aside"}))
    data = read_dataset("folder", tmp_path)
    assert [item["name"] for item in data.datalist("train")] == ["a", "d"]
    assert [item["name"] for item in data.datalist("val")] == ["b"]
    assert len(data.datalist("all")) == 4


def test_splits_json_may_name_the_validation_cases_only(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c"))
    (tmp_path / "splits.json").write_text('{"val": ["b"]}')
    assert read_dataset("folder", tmp_path).train == ("a", "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "cannot be read as JSON", id="no-json"),
        pytest.param("[]", "must look like", id="a-list"),
        pytest.param('{"train": "a", "val": ["b"]}', "must look like", id="a-word-for-a-list"),
        pytest.param('{"train": ["a"], "val": [1]}', "must look like", id="a-number-for-a-name"),
        pytest.param('{"train": ["a", "b"], "val": ["b"]}', "b is in both", id="in-both"),
        pytest.param('{"train": ["a", "x"], "val": ["b"]}', r"names 1 cases in `train`.*first: x", id="unknown"),
    ],
)
def test_a_wrong_split_file(tmp_path: Path, content: str, message: str) -> None:
    make_simple(tmp_path, ("a", "b"))
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_dataset("folder", tmp_path)


def test_partners_may_be_of_different_kinds_and_cases(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.BMP", IMAGE)
    save(tmp_path / "labels" / "a.tif", MASK)
    (tmp_path / "images" / ".DS_Store").touch()
    (item,) = read_dataset("folder", tmp_path).datalist("all")
    assert item == {
        "image": str(tmp_path / "images" / "a.BMP"),
        "label": str(tmp_path / "labels" / "a.tif"),
        "rule": "index",
        "name": "a",
    }


def test_nifti_partners(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.1.nii.gz").touch()
    assert [case.name for case in read_dataset("folder", tmp_path).cases] == ["scan.1"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param(
            "images/c.jpg", r"1 of 3 files in .*images have no partner.*masks \(first: c\.jpg\)", id="no-label"
        ),
        pytest.param(
            "masks/c.png", r"1 of 3 files in .*masks have no partner.*images \(first: c\.png\)", id="no-image"
        ),
        pytest.param("images/a.png", "a.jpg and a.png in .*images have the same name", id="stem-twice"),
        pytest.param("labels/a.png", "both masks/ and labels/", id="two-label-folders"),
    ],
)
def test_files_that_do_not_pair(tmp_path: Path, extra: str, message: str) -> None:
    make_simple(tmp_path, ("a", "b"))
    save(tmp_path / extra, MASK)
    with pytest.raises(DataError, match=message):
        read_dataset("folder", tmp_path)


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="images holds no images"):
        read_dataset("folder", tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return read_dataset("folder", make_simple(tmp_path, NAMES))


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_folds_part_the_training_cases_evenly(data: Dataset, k: int) -> None:
    folds = data.folds(k)
    assert sorted(name for fold in folds for name in fold) == sorted(data.train)
    assert np.ptp([len(fold) for fold in folds]) <= 1
    assert folds == data.folds(k)
    assert folds != data.folds(k, seed=1)


def test_a_fold_and_its_rest_make_the_training_list(data: Dataset) -> None:
    names = {item["name"] for item in data.datalist("train")}
    for fold in range(3):
        inside = {item["name"] for item in data.datalist("train", held_out_fold=fold, folds=3)}
        outside = {item["name"] for item in data.datalist("train", fold=fold, folds=3)}
        assert inside == {*data.folds(3)[fold]}
        assert inside | outside == names
        assert not inside & outside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"split": "test"}, "parts train, val and all, not 'test'", id="unknown-part"),
        pytest.param({"split": "val", "fold": 0}, "a fold is a part of the training cases", id="fold-of-val"),
        pytest.param({"fold": 0, "held_out_fold": 1}, "either `fold` or `held_out_fold`", id="both"),
        pytest.param({"fold": 3, "folds": 3}, "no fold 3; 3 folds are counted from 0 to 2", id="fold-too-high"),
        pytest.param(
            {"fold": 0, "folds": 10},
            "there are 9 training cases in folder .* in 10 folds needs 10; label 1 more",
            id="more-folds-than-cases",
        ),
        pytest.param({"fold": 0, "folds": 1}, "folds of folder are to be 1; ask for 2 or more", id="one-fold"),
    ],
)
def test_what_cannot_be_listed(data: Dataset, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.datalist(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_case_of_the_test_part_is_in_no_other(data: Dataset, part: str) -> None:
    name = getattr(data, part)[0]
    with pytest.raises(DataError, match=f"{name} is in both `{part}` and `test`"):
        replace(data, test=(name,))
