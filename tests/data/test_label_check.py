"""All labels of a data set are checked at once, and one sentence says what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_layouts import make_simple, save

from monai_dis.data import LoadLabeld, check_labels, labelled_dataset, read_dataset
from monai_dis.errors import DataError

INDICES = np.array([[0, 63, 126], [189, 252, 0]], dtype=np.uint8)


def test_unknown_numbers_are_listed_with_their_files_and_a_map(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c"), mask=INDICES)
    with pytest.raises(DataError) as error:
        labelled_dataset("folder", tmp_path, 5)
    said = str(error.value)
    assert "no class of 0 to 4: 63 in 3 files (first: " in said and "masks/a.png)" in said
    assert all(f"{value} in 3 files" in said for value in (126, 189, 252))
    assert "--labels 63=1,126=2,189=3,252=4 (label_map in a config)" in said
    mapped = labelled_dataset("folder", tmp_path, 5, label_map={"63": 1, "126": 2, "189": 3, "252": 4})
    assert mapped == read_dataset("folder", tmp_path)


def test_what_else_is_wrong_stands_beside_it(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c"), mask=np.zeros((2, 3), np.uint8))
    save(tmp_path / "masks" / "a.png", np.full((2, 3), 7, np.uint8))
    save(tmp_path / "masks" / "b.png", np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"(?s)2 labels cannot be used:\n.*\b7 in .*a\.png.*\n.*b\.png is 2x3 pixels"):
        labelled_dataset("folder", tmp_path, 2)


def test_a_file_that_changes_is_checked_again(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b"), mask=np.zeros((2, 3), np.uint8))
    labelled_dataset("folder", tmp_path, 2)
    save(tmp_path / "masks" / "a.png", np.full((2, 3), 17, np.uint8))
    with pytest.raises(DataError, match=r"a\.png holds 17"):
        labelled_dataset("folder", tmp_path, 2)


def test_cases_in_no_part_of_the_split_are_not_read(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c"), mask=np.zeros((2, 3), np.uint8))
    save(tmp_path / "masks" / "c.png", np.full((2, 3), 7, np.uint8))
    (tmp_path / "splits.json").write_text('{"train": ["a"], "val": ["b"]}')
    assert len(labelled_dataset("folder", tmp_path, 2)) == 3
    with pytest.raises(DataError, match=r"c\.png holds 7"):
        check_labels(read_dataset("folder", tmp_path).datalist("all"), LoadLabeld("label", 2))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({"label_map": {"a": 1}}, "label_map is .*give the class of each number", id="a-word"),
        pytest.param({"label_map": [63, 126]}, "label_map is .*give the class of each number", id="a-list"),
        pytest.param({"label_map": {63: 256}}, "names the class 256", id="too-many"),
        pytest.param({"label_map": {63: -1}}, "names the class -1", id="negative"),
        pytest.param({"geometry": "fix"}, "label_geometry is 'fix'; give reject or warn", id="policy"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        LoadLabeld("label", 2, **options)  # type: ignore[arg-type]
