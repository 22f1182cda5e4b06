"""Readers of the public data sets: official downloads in miniature, the simple layout, and folders that are neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_layouts import MASK, make_chase, make_drive, make_hrf, make_kitti, make_ph2, make_simple, make_stare

from monai_dis.data import LoadLabeld, ReadImaged, read_dataset
from monai_dis.errors import DataError

PH2_NAMES = ("IMD002", "IMD003", "IMD004", "IMD005", "IMD006", "IMD007", "IMD008", "IMD009")
KITTI_MASK = np.array([[0, 1, 0], [0, 0, 1]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "make", "names"),
    [
        pytest.param("ph2", lambda root: make_ph2(root, PH2_NAMES), list(PH2_NAMES), id="ph2"),
        pytest.param("ph2", lambda root: make_ph2(root, PH2_NAMES).parent, list(PH2_NAMES), id="ph2-folder-above"),
        pytest.param(
            "ph2",
            lambda root: make_ph2(root, PH2_NAMES) / "PH2 Dataset images",
            list(PH2_NAMES),
            id="ph2-folder-of-images",
        ),
        pytest.param(
            "drive",
            make_drive,
            [f"0{n}_test" for n in range(1, 5)] + [f"2{n}_training" for n in range(1, 5)],
            id="drive",
        ),
        pytest.param("stare", make_stare, ["im0001", "im0002", "im0044", "im0077"], id="stare-flat"),
        pytest.param(
            "stare",
            lambda root: make_stare(root, subfolders=True),
            ["im0001", "im0002", "im0044", "im0077"],
            id="stare-folder-per-archive",
        ),
        pytest.param(
            "stare",
            lambda root: make_stare(root, zipped=False),
            ["im0001", "im0002", "im0044", "im0077"],
            id="stare-without-gz",
        ),
        pytest.param("chase_db1", make_chase, [f"Image_0{n}{e}" for n in range(1, 5) for e in "LR"], id="chase-flat"),
        pytest.param(
            "chase_db1",
            lambda root: make_chase(root, sorted_into=True),
            [f"Image_0{n}{e}" for n in range(1, 5) for e in "LR"],
            id="chase-sorted",
        ),
        pytest.param("hrf", make_hrf, [f"0{n}_{kind}" for n in (1, 2) for kind in ("dr", "g", "h")], id="hrf"),
        pytest.param(
            "hrf",
            lambda root: make_hrf(root).parent,
            [f"0{n}_{kind}" for n in (1, 2) for kind in ("dr", "g", "h")],
            id="hrf-folder-above",
        ),
        pytest.param("kitti", make_kitti, [f"{n:06d}_10" for n in range(8)], id="kitti"),
        pytest.param(
            "kitti",
            lambda root: make_kitti(root / "data_semantics").parent,
            [f"{n:06d}_10" for n in range(8)],
            id="kitti-folder-above",
        ),
    ],
)
def test_official_layout_gives_images_and_class_indices(
    tmp_path: Path, name: str, make: Callable[[Path], Path], names: list[str]
) -> None:
    data = read_dataset(name, make(tmp_path))
    assert [case.name for case in data.cases] == names
    assert sorted(data.train + data.val) == names
    assert not {*data.train} & {*data.val}
    for item in data.datalist("all"):
        loaded = LoadLabeld("label")(ReadImaged("image")(item))
        assert loaded["image"].shape == (3, 3, 2)
        # MONAI's order of axes: columns before rows.
        np.testing.assert_array_equal(loaded["label"].numpy()[0].T, MASK if name != "kitti" else KITTI_MASK)


@pytest.mark.parametrize(
    "name", ["ph2", "drive", "stare", "chase_db1", "kitti", "retina", "hrf", "retina_hrf", "folder"]
)
@pytest.mark.parametrize("labels", ["masks", "labels"])
def test_simple_layout_is_read_by_every_reader(tmp_path: Path, name: str, labels: str) -> None:
    data = read_dataset(name, make_simple(tmp_path, ("a", "b", "c", "d"), labels=labels))
    assert [case.name for case in data.cases] == ["a", "b", "c", "d"]
    assert (len(data.train), len(data.val)) == (3, 1)
    label = LoadLabeld("label")(data.datalist("all")[0])["label"]
    np.testing.assert_array_equal(label.numpy()[0].T, MASK)


def test_drive_has_fields_of_view_and_may_withhold_labels(tmp_path: Path) -> None:
    data = read_dataset("drive", make_drive(tmp_path, test_labels=False))
    cases = {case.name: case for case in data.cases}
    assert cases["21_training"].extra["fov"].name == "21_training_mask.gif"
    assert cases["01_test"].label is None
    assert "label" not in cases["01_test"].item()
    assert all(name.endswith("_training") for name in data.train + data.val)


def test_retina_joins_the_three_sets_and_their_splits(tmp_path: Path) -> None:
    make_drive(tmp_path)
    make_stare(tmp_path).rename(tmp_path / "stare")
    make_chase(tmp_path).rename(tmp_path / "CHASE-DB1")
    data = read_dataset("retina", tmp_path)
    parts = {name: read_dataset(name, tmp_path / folder) for name, folder in _RETINA_FOLDERS.items()}
    assert len(data) == 8 + 4 + 8
    assert {*data.val} == {f"{name}_{case}" for name, part in parts.items() for case in part.val}
    assert {*data.train} == {f"{name}_{case}" for name, part in parts.items() for case in part.train}


_RETINA_FOLDERS = {"drive": "DRIVE", "stare": "stare", "chase_db1": "CHASE-DB1"}


def test_retina_names_the_missing_set(tmp_path: Path) -> None:
    make_drive(tmp_path)
    make_stare(tmp_path)
    with pytest.raises(DataError, match="lacks CHASE_DB1"):
        read_dataset("retina", tmp_path)


def test_vessels_of_high_resolution_join_the_others(tmp_path: Path) -> None:
    make_drive(tmp_path)
    make_stare(tmp_path)
    make_chase(tmp_path)
    three = read_dataset("retina", tmp_path)
    with pytest.raises(DataError, match="lacks HRF"):
        read_dataset("retina_hrf", tmp_path)
    make_hrf(tmp_path)
    four = read_dataset("retina_hrf", tmp_path)
    hrf = read_dataset("hrf", tmp_path / "HRF")
    assert {*four.train} == {*three.train} | {f"hrf_{name}" for name in hrf.train}
    assert {*four.val} == {*three.val} | {"hrf_01_dr"}
    assert hrf.cases[0].extra["fov"].name == "01_dr_mask.tif"
    # the poster's three sets stay what they are
    assert read_dataset("retina", tmp_path) == three


def test_known_validation_names_stay_out_of_training(tmp_path: Path) -> None:
    # IMD010 is one of the names that the shipped bundles were validated on, so it validates here as well.
    data = read_dataset("ph2", make_ph2(tmp_path, (*PH2_NAMES, "IMD010")))
    assert data.val == ("IMD010",)
    assert data.train == PH2_NAMES


def test_the_eyes_of_a_child_stay_together(tmp_path: Path) -> None:
    # Children 21 to 28 do not exist, so no known validation names interfere.
    data = read_dataset("chase_db1", make_chase(tmp_path, children=range(21, 29)))
    assert len(data.val) == 4
    parts = [data.val, *data.folds(3)]
    for part in parts:
        assert sorted(part) == sorted({f"{name[:-1]}{eye}" for name in part for eye in "LR"})


@pytest.mark.parametrize(
    "name", ["ph2", "drive", "stare", "chase_db1", "kitti", "retina", "hrf", "retina_hrf", "idrid", "folder"]
)
def test_a_wrong_folder_says_what_is_expected_and_what_is_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"expected .*images/NAME.*; found holiday/, notes\.txt\."):
        read_dataset(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["ph2", "drive", "stare", "chase_db1", "kitti", "retina", "hrf", "retina_hrf", "idrid", "folder"]
)
def test_a_missing_empty_or_packed_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist; give the folder"):
        read_dataset(name, tmp_path / "nowhere")
    with pytest.raises(DataError, match="found nothing"):
        read_dataset(name, tmp_path)
    (tmp_path / "data.zip").touch()
    with pytest.raises(DataError, match="is a file; give the folder"):
        read_dataset(name, tmp_path / "data.zip")


def test_data_sets_are_listed_without_torch(tmp_path: Path) -> None:
    make_simple(tmp_path, ("a", "b", "c", "d"))
    program = (
        "import sys; from monai_dis.data import read_dataset; "
        "assert len(read_dataset('folder', sys.argv[1]).datalist('val')) == 1; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="'ham10000'; choose one of ph2, retina, kitti"):
        read_dataset("ham10000", ".")
