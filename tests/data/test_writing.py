"""What is written fits the image: same pixel, same geometry, whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from data_layouts import save
from monai.data import PILWriter
from monai.transforms import Compose, Invertd, Resized
from PIL import Image

from monai_dis.data import ReadImaged, WriteSegmentationd, read_image, write_segmentation
from monai_dis.errors import OutputError

ROWS, COLUMNS = 5, 9
AFFINE = np.array([[-0.7, 0.1, 0, 10], [0.1, 0.8, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG", "photo.tif", "photo.bmp"])
def test_a_marked_pixel_lands_in_its_row_and_column(tmp_path: Path, name: str) -> None:
    picture = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    picture[1, 7] = 255  # row 1, column 7
    save(tmp_path / name, picture, **({"quality": 100, "subsampling": 0} if name.endswith("JPG") else {}))
    image = read_image(tmp_path / name)
    labels = (image.mean(dim=0, keepdim=True) > 127) * 3
    write_segmentation(labels, image, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        assert (written.mode, written.size) == ("L", (COLUMNS, ROWS))
        values = np.asarray(written)
    expected = np.zeros((ROWS, COLUMNS), np.uint8)
    expected[1, 7] = 3
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)])
def test_pictures_of_one_row_or_column(tmp_path: Path, size: tuple[int, int]) -> None:
    save(tmp_path / "a.png", np.zeros(size, np.uint8))
    image = read_image(tmp_path / "a.png")
    write_segmentation(torch.ones(image.shape, dtype=torch.uint8), image, tmp_path / "out.png")
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == size


def test_more_than_255_classes(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((2, 3), np.uint8))
    image = read_image(tmp_path / "a.png")
    write_segmentation(torch.arange(6).reshape(1, 3, 2) * 100, image, tmp_path / "out.png")
    values = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(values, [[0, 200, 400], [100, 300, 500]])


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6), (5, 6, 1), (1, 1, 5)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_has_the_identical_geometry(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), AFFINE), tmp_path / "a.nii"
    )
    image = read_image(tmp_path / "a.nii")
    write_segmentation((image > 0) * 2, image, tmp_path / f"out{suffix}")
    source, written = nib.load(tmp_path / "a.nii"), nib.load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj), (source.get_fdata() > 0) * 2)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("axes", [2, 3])
def test_itk_formats_have_the_identical_geometry(tmp_path: Path, suffix: str, axes: int) -> None:
    itk = pytest.importorskip("itk", reason="NRRD and MetaImage need the extra `itk`")
    source = itk.image_from_array(np.random.default_rng(0).normal(size=(7, 6, 5)[:axes]).astype(np.float32))
    source.SetSpacing([0.5, 0.7, 2.0][:axes])
    source.SetOrigin([1.0, -2.0, 3.0][:axes])
    cos, sin = np.cos(0.3), np.sin(0.3)
    source.SetDirection(itk.matrix_from_array(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])[:axes, :axes]))
    itk.imwrite(source, str(tmp_path / f"a{suffix}"))
    image = read_image(tmp_path / f"a{suffix}")
    write_segmentation((image > 0) * 2, image, tmp_path / f"out{suffix}")
    written = itk.imread(str(tmp_path / f"out{suffix}"))
    np.testing.assert_array_equal(itk.array_from_image(written), (itk.array_from_image(source) > 0) * 2)
    np.testing.assert_allclose(written.GetSpacing(), source.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(written.GetOrigin(), source.GetOrigin(), rtol=1e-12)
    np.testing.assert_allclose(
        itk.array_from_matrix(written.GetDirection()), itk.array_from_matrix(source.GetDirection()), atol=1e-12
    )


def test_as_transforms_of_a_bundle_around_a_resize(tmp_path: Path) -> None:
    # A bright quarter, asymmetric in rows and columns, survives the way to the network's grid and back.
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[40:, :30] = 255
    save(tmp_path / "in" / "photo.png", picture)
    before = Compose([ReadImaged("image", expected_channels=3), Resized("image", (48, 48))])
    after = Compose(
        [
            Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
            lambda data: {**data, "pred": (data["pred"] > 127) * 1},
            WriteSegmentationd("pred", tmp_path / "out"),
        ]
    )
    data = before({"image": str(tmp_path / "in" / "photo.png")})
    data["pred"] = data["image"].mean(dim=0, keepdim=True)
    after(data)
    values = np.asarray(Image.open(tmp_path / "out" / "photo_seg.png"))
    assert values.shape == (60, 100)
    truth = picture[..., 0] > 0
    assert (values.astype(bool) != truth).sum() <= 2 * (20 + 30)  # a border of at most two pixels


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((ROWS, COLUMNS), np.uint8))
    with pytest.raises(ValueError, match=r"labels have the shape \(1, 5, 9\), the image needs \(1, 9, 5\)"):
        write_segmentation(torch.zeros(1, ROWS, COLUMNS), read_image(tmp_path / "a.png"), tmp_path / "out.png")


def test_a_folder_that_is_not_there_and_a_suffix_that_is_not_written(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((ROWS, COLUMNS), np.uint8))
    image = read_image(tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"cannot be written .No such file or directory.; choose another"):
        write_segmentation(image, image, tmp_path / "nowhere" / "out.png")
    with pytest.raises(OutputError, match=r"as out\.jpg; choose \.png"):
        write_segmentation(image, image, tmp_path / "out.jpg")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", np.zeros((ROWS, COLUMNS), np.uint8))
    image = read_image(tmp_path / "a.png")

    def fill(self: PILWriter, filename: str, **options: object) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PILWriter, "write", fill)
    with pytest.raises(OutputError, match=r"out\.png cannot be written .No space left on device."):
        write_segmentation(image, image, tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
