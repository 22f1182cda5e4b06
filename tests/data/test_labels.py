"""Label files become class indices."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from data_layouts import save
from monai.transforms import Resize
from PIL import Image

from monai_dis.data import LoadLabeld, ReadImaged, read_image, read_label, read_masks
from monai_dis.errors import DataError, ImageError

CLASSES = np.array([[0, 1, 2], [3, 2, 0]], dtype=np.uint8)
BINARY = (CLASSES > 1).astype(np.uint8)


def _palette(array: np.ndarray, colours: list[int]) -> Image.Image:
    picture = Image.new("P", (array.shape[1], array.shape[0]))
    picture.putdata(array.flatten().tolist())
    picture.putpalette(colours)
    return picture


@pytest.mark.parametrize(
    ("picture", "rule", "expected"),
    [
        pytest.param(Image.fromarray(CLASSES), "index", CLASSES, id="indices"),
        pytest.param(Image.fromarray(CLASSES.astype(np.uint16)), "index", CLASSES, id="16-bit-indices"),
        pytest.param(Image.fromarray(BINARY.astype(bool)), "index", BINARY, id="one-bit"),
        pytest.param(Image.fromarray(BINARY * 255), "index", BINARY, id="0-and-255-are-0-and-1"),
        pytest.param(Image.fromarray(np.full_like(BINARY, 255)), "index", np.ones_like(BINARY), id="all-255"),
        pytest.param(Image.fromarray(np.dstack([CLASSES] * 3)), "index", CLASSES, id="grey-stored-as-colour"),
        pytest.param(
            Image.fromarray(np.dstack([CLASSES] * 3 + [CLASSES * 0 + 255])), "index", CLASSES, id="with-alpha"
        ),
        # Black, red, green, blue: the entries are the classes, whatever the colours.
        pytest.param(
            _palette(CLASSES, [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]), "index", CLASSES, id="palette-entries"
        ),
        # Entry 0 is white here, so that entries and colours disagree: black is background.
        pytest.param(_palette(1 - BINARY, [255, 255, 255, 0, 0, 0]), "nonzero", BINARY, id="palette-colours"),
        pytest.param(Image.fromarray(BINARY * 255), "nonzero", BINARY, id="nonzero"),
        pytest.param(Image.fromarray(BINARY.astype(bool)), "nonzero", BINARY, id="nonzero-one-bit"),
        pytest.param(Image.fromarray(np.dstack([BINARY * 255] * 3)), "nonzero", BINARY, id="nonzero-24-bit"),
        pytest.param(_palette(BINARY, [0, 0, 0, 1, 0, 0]), "mask", BINARY, id="mask-palette-entries"),
        pytest.param(
            Image.fromarray(np.dstack([BINARY * 9, 1 - BINARY, BINARY * 0, BINARY * 0 + 255])),
            "mask",
            BINARY,
            id="mask-red-of-four-channels",
        ),
        pytest.param(Image.fromarray(BINARY * 255), "mask", BINARY, id="mask-grey"),
        pytest.param(Image.fromarray(BINARY.astype(bool)), "mask", BINARY, id="mask-one-bit"),
        pytest.param(
            Image.fromarray(np.array([[25, 26, 31], [32, 255, 0]], np.uint8)),
            "vehicles",
            np.array([[0, 1, 1], [0, 0, 0]]),
            id="vehicles",
        ),
    ],
)
def test_rules(tmp_path: Path, picture: Image.Image, rule: str, expected: np.ndarray) -> None:
    picture.save(tmp_path / "a.png")
    label = read_label(tmp_path / "a.png", rule)
    assert label.dtype == torch.uint8
    np.testing.assert_array_equal(label.numpy(), expected.T[None])


def test_volumes(tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4) % 4
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([1, 2, 3, 1])), tmp_path / "a.nii.gz")
    label = read_label(tmp_path / "a.nii.gz", num_classes=4)
    np.testing.assert_array_equal(label.numpy(), values[None])
    np.testing.assert_array_equal(label.affine, np.diag([1, 2, 3, 1]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param([0.0, 0.5], "holds 0.5, and a label holds whole numbers", id="fractions"),
        pytest.param([-1.0, 1.0], "holds -1, and the classes are 0 to 3", id="negative"),
        pytest.param([0.0, 300.0], "holds 300, and the classes are 0 to 3", id="too-many-classes"),
        pytest.param([0.0, 4.0], "holds 4, and the classes are 0 to 3", id="class-that-the-network-lacks"),
    ],
)
def test_values_that_are_no_class_indices(tmp_path: Path, values: list[float], message: str) -> None:
    nib.save(nib.Nifti1Image(np.array(values, np.float32).reshape(1, 1, -1), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=message):
        read_label(tmp_path / "a.nii", num_classes=4)


def test_a_coloured_label_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.dstack([CLASSES, CLASSES, CLASSES * 0]))
    with pytest.raises(DataError, match=r"a\.png is in colour"):
        read_label(tmp_path / "a.png")


def test_an_unreadable_label(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ImageError, match=r"a\.png holds no PNG image"):
        read_label(tmp_path / "a.png")


def test_load_labeld_takes_each_case_by_its_rule(tmp_path: Path) -> None:
    save(tmp_path / "a.png", CLASSES)
    item = {"label": str(tmp_path / "a.png"), "name": "a"}
    assert LoadLabeld("label")(item)["label"].unique().tolist() == [0, 1, 2, 3]
    assert LoadLabeld("label")({**item, "rule": "nonzero"})["label"].unique().tolist() == [0, 1]


def test_a_label_of_another_size_than_its_image_is_refused_even_when_the_image_was_resized(tmp_path: Path) -> None:
    save(tmp_path / "image.png", np.zeros((4, 6), np.uint8))
    save(tmp_path / "label.png", np.zeros((6, 4), np.uint8))
    item = {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "label.png")}
    with pytest.raises(DataError, match=r"label\.png is 4x6 pixels, .*image\.png is 6x4"):
        LoadLabeld("label")(ReadImaged("image")(item))
    resized = Resize((8, 8))(read_image(item["image"]))
    with pytest.raises(DataError, match=r"image\.png is 6x4"):
        LoadLabeld("label")({**item, "image": resized})
    item["label"] = item["image"]
    assert LoadLabeld("label")({**item, "image": resized})["label"].shape == (1, 6, 4)


def test_masks_of_their_own_and_a_file_that_classes_share(tmp_path: Path) -> None:
    save(tmp_path / "index.png", CLASSES)
    save(tmp_path / "own.png", np.array([[9, 0, 0], [0, 0, 9]], np.uint8))
    index, own = tmp_path / "index.png", tmp_path / "own.png"
    masks = read_masks({"a": index, "b": own, "c": index, "d": None})
    assert masks.dtype == torch.uint8
    # "a" is the first class and "c" the third: so are their indices in the shared file.
    expected = [CLASSES == 1, [[1, 0, 0], [0, 0, 1]], CLASSES == 3, CLASSES * 0]
    np.testing.assert_array_equal(masks.numpy().transpose(0, 2, 1), expected)


def test_load_labeld_gives_a_channel_for_each_file(tmp_path: Path) -> None:
    save(tmp_path / "a.png", BINARY)
    item = {"label": {"first": str(tmp_path / "a.png"), "second": None}}
    label = LoadLabeld("label", num_classes=3)(item)["label"]
    np.testing.assert_array_equal(label.numpy().transpose(0, 2, 1), [BINARY, BINARY * 0])
    with pytest.raises(DataError, match="has the 2 classes first, second, the network knows 1"):
        LoadLabeld("label", num_classes=2)(item)
    save(tmp_path / "a.png", CLASSES)
    with pytest.raises(DataError, match="holds 2, 3, and the classes are 0 to 1"):
        LoadLabeld("label")(item)


def test_masks_that_do_not_cover_each_other_or_are_not_there(tmp_path: Path) -> None:
    save(tmp_path / "a.png", BINARY)
    save(tmp_path / "b.png", BINARY.T)
    with pytest.raises(DataError, match=r"b\.png is 2x3 pixels, .*a\.png is 3x2"):
        read_masks({"a": tmp_path / "a.png", "b": tmp_path / "b.png"})
    with pytest.raises(DataError, match="no mask file for any of a, b; name one, or read the image first"):
        read_masks({"a": None, "b": None})
    save(tmp_path / "image.png", np.zeros((4, 6), np.uint8))
    item = {"image": str(tmp_path / "image.png"), "label": {"a": str(tmp_path / "a.png")}}
    with pytest.raises(DataError, match=r"a\.png is 3x2 pixels, .*image\.png is 6x4"):
        LoadLabeld("label")(ReadImaged("image")(item))
