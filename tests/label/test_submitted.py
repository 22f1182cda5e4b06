"""A label is checked when it comes. Runs without MONAI Label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor

from monai_dis.checks.limits import Limits
from monai_dis.data.images import read_image
from monai_dis.errors import DataError, DisError, ImageError
from monai_dis.label.numbering import Numbering
from monai_dis.label.request import RequestError
from monai_dis.label.submitted import check_submitted

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SIZE = (8, 9, 10)
BUNDLES = {"heart": {1: "left atrium"}, "organs": {1: "spleen", 2: "liver"}}
TRUTH = np.zeros(SIZE, np.uint8)
TRUTH[2:5, 3:6, 4:8] = 2
TRUTH[0, 0, 0] = 1


@pytest.fixture
def image(tmp_path: Path) -> MetaTensor:
    nib.save(nib.Nifti1Image(np.zeros(SIZE, np.float32), AFFINE), tmp_path / "image.nii.gz")
    return read_image(tmp_path / "image.nii.gz")


def written(folder: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    file = folder / "label.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), file)
    return file


def info(*names: str, first: int = 1) -> dict[str, Any]:
    return {"label_info": [{"name": name, "idx": number} for number, name in enumerate(names, start=first)]}


def test_numbers_are_classes_where_nobody_says_more(tmp_path: Path, image: MetaTensor) -> None:
    good = check_submitted(written(tmp_path, TRUTH), image, {"model": "organs_clicks"}, BUNDLES)
    assert np.array_equal(good.labels, TRUTH) and good.bundle == "organs" and good.classes == ("spleen", "liver")


def test_names_decide_and_not_the_order_of_a_viewer_s_segments(tmp_path: Path, image: MetaTensor) -> None:
    good = check_submitted(written(tmp_path, TRUTH), image, info("Liver", "spleen"), BUNDLES)
    assert good.bundle == "organs" and np.array_equal(good.labels, np.array([0, 2, 1], np.uint8)[TRUTH])


def test_the_bundle_is_the_one_whose_classes_are_marked(tmp_path: Path, image: MetaTensor) -> None:
    """3D Slicer lists the segments of all bundles, and counts the background that it leaves out."""
    only = (TRUTH == 2).astype(np.uint8) * 3  # the third segment of the scene
    every = info("left atrium", "spleen", "liver", first=2)
    good = check_submitted(written(tmp_path, only), image, every, BUNDLES)
    assert good.bundle == "organs" and np.array_equal(good.labels, (TRUTH == 2) * 2)
    heart = check_submitted(written(tmp_path, (TRUTH == 2).astype(np.uint8)), image, every, BUNDLES)
    assert heart.bundle == "heart" and heart.labels.max() == 1


def test_another_order_of_voxels_is_turned(tmp_path: Path, image: MetaTensor) -> None:
    turned = AFFINE @ np.array([[-1, 0, 0, SIZE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    good = check_submitted(written(tmp_path, TRUTH[::-1].copy(), turned), image, {"model": "organs"}, BUNDLES)
    assert np.array_equal(good.labels, TRUTH)


@pytest.mark.parametrize("said", [{"empty": True}, {"label_info": []}])
def test_an_empty_label_must_be_meant(tmp_path: Path, image: MetaTensor, said: dict[str, Any]) -> None:
    file = written(tmp_path, np.zeros(SIZE, np.uint8))
    with pytest.raises(RequestError, match="the label is empty"):
        check_submitted(file, image, info("spleen"), BUNDLES)
    assert not check_submitted(file, image, said, BUNDLES).labels.any()


MIRRORED = AFFINE @ np.diag([-1.0, 1, 1, 1])
REFUSED = [
    pytest.param(np.where(TRUTH, 77, 0).astype(np.uint8), AFFINE, {}, "holds 77, which is no class of", id="class-77"),
    pytest.param(TRUTH, AFFINE, info("spleen", "cyst"), r"holds 2 \(cyst\), which is no class of organs", id="name"),
    pytest.param(TRUTH, AFFINE, {"model": "heart"}, "holds 2, which is no class of heart", id="other-bundle"),
    pytest.param(TRUTH, MIRRORED, {}, "does not lie on its image.*mm away", id="mirrored"),
    pytest.param(TRUTH, AFFINE + np.eye(4, k=3) * 5, {}, "up to 5 mm away", id="shifted"),
    pytest.param(np.ones((10, 10, 10), np.uint8), AFFINE, {}, "10x10x10 voxels, the image has 8x9x10", id="size"),
    pytest.param(TRUTH * np.float32(0.3), AFFINE, {}, "holds whole numbers", id="fractions"),
    pytest.param(TRUTH.astype(np.int16) * 300, AFFINE, {}, "300, 600", id="large"),
]


@pytest.mark.parametrize(("values", "affine", "said", "sentence"), REFUSED)
def test_what_is_refused(
    tmp_path: Path, image: MetaTensor, values: np.ndarray, affine: np.ndarray, said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DisError, match=sentence):
        check_submitted(written(tmp_path, values, affine), image, said, BUNDLES)


def test_garbage_and_what_claims_too_much(tmp_path: Path, image: MetaTensor) -> None:
    garbage = tmp_path / "label.nii.gz"
    garbage.write_bytes(b"\x1f\x8bgarbage")
    with pytest.raises(ImageError):
        check_submitted(garbage, image, {}, BUNDLES)
    garbage.write_bytes(b"")
    with pytest.raises(DisError):
        check_submitted(garbage, image, {}, BUNDLES)
    with pytest.raises(ImageError, match="LIMIT_EXCEEDED"):
        check_submitted(written(tmp_path, TRUTH), image, {}, BUNDLES, limits=Limits(volume_bytes=100))


def test_a_mask_of_one_class(tmp_path: Path, image: MetaTensor) -> None:
    good = check_submitted(
        written(tmp_path, (TRUTH > 0).astype(np.uint8) * 255), image, {}, {"heart": BUNDLES["heart"]}
    )
    assert np.array_equal(good.labels, TRUTH > 0)


@pytest.mark.parametrize("kind", ["u1", "<u2"])
def test_the_voxels_alone(tmp_path: Path, image: MetaTensor, kind: str) -> None:
    """OHIF sends no header, and numbers its segments over all bundles."""
    shown, file = Numbering.of(BUNDLES.values()), tmp_path / "label.bin"
    numbers = shown.renumbered(TRUTH, BUNDLES["organs"]).astype(kind)
    assert set(np.unique(numbers)) == {0, 2, 3}
    file.write_bytes(numbers.tobytes(order="F"))
    good = check_submitted(file, image, {"label_info": []}, BUNDLES, shown=shown)
    assert good.bundle == "organs" and np.array_equal(good.labels, TRUTH)
    file.write_bytes(b"\x01" * 1000)
    with pytest.raises(RequestError, match="1000 bytes"):
        check_submitted(file, image, {}, BUNDLES, shown=shown)


def test_elsewhere_is_taken_where_the_site_says_so(tmp_path: Path, image: MetaTensor) -> None:
    file = written(tmp_path, TRUTH, MIRRORED)
    with pytest.raises(DataError):
        check_submitted(file, image, {"model": "organs"}, BUNDLES)
    assert np.array_equal(check_submitted(file, image, {"model": "organs"}, BUNDLES, "warn").labels, TRUTH)


def test_one_list_of_names_for_all_bundles() -> None:
    shown = Numbering.of([{1: "left atrium"}, {1: "spleen", 2: "liver"}, {1: "liver", 2: "cyst"}])
    assert shown.names == ("left atrium", "spleen", "liver", "cyst")
    assert shown.numbers({1: "liver", 2: "cyst", 3: "uncertain", 4: "refined"}) == {1: 3, 2: 4, 3: 5, 4: 6}
