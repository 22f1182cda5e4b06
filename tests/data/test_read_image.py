"""Reading a user's image: what comes out, and the sentence for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from data_layouts import save
from monai.transforms import LoadImage
from PIL import Image

from monai_dis.data import ReadImaged, check_readable, read_image
from monai_dis.errors import ImageError

COLOUR = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
VOLUME = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
AFFINE = np.array([[-0.7, 0.1, 0, 10], [0.1, 0.8, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def _png(path: Path, picture: Image.Image) -> Path:
    picture.save(path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.tif", "a.TIFF", "a.bmp", "a.ppm"])
def test_colour_pictures_in_monai_order_of_axes(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, COLOUR)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.float32
    # (C, columns, rows)
    np.testing.assert_array_equal(image.numpy(), COLOUR.transpose(2, 1, 0))
    assert image.meta["filename_or_obj"] == str(tmp_path / name)
    assert [int(n) for n in image.meta["spatial_shape"]] == [7, 5]


def test_same_as_monai_reads_it(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", COLOUR)
    theirs = LoadImage(ensure_channel_first=True)(tmp_path / "a.jpg")
    assert torch.equal(read_image(tmp_path / "a.jpg").as_tensor(), theirs.as_tensor())


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param(Image.fromarray(GREY), GREY[None], id="grey"),
        pytest.param(Image.fromarray(GREY > 99), (GREY > 99)[None] * 255, id="one-bit"),
        pytest.param(Image.fromarray(GREY.astype(np.uint16) * 257), GREY[None] * 257.0, id="16-bit"),
        pytest.param(Image.fromarray(np.dstack([GREY, GREY // 2])), GREY[None], id="grey-alpha"),
        pytest.param(
            Image.fromarray(np.dstack([COLOUR, np.zeros_like(GREY)])), COLOUR.transpose(2, 0, 1), id="transparent"
        ),
        pytest.param(
            Image.fromarray(COLOUR).quantize(64),
            np.asarray(Image.fromarray(COLOUR).quantize(64).convert("RGB")).transpose(2, 0, 1),
            id="palette",
        ),
        pytest.param(Image.fromarray(GREY).convert("P"), GREY[None], id="grey-palette"),
    ],
)
def test_kinds_of_pixels(tmp_path: Path, picture: Image.Image, expected: np.ndarray) -> None:
    image = read_image(_png(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(image.numpy(), expected.transpose(0, 2, 1))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").numpy(), COLOUR.transpose(2, 1, 0))


def test_a_photograph_is_turned_as_viewers_show_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 5, 7)


def test_gzipped_ppm(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "PPM")
    (tmp_path / "a.ppm.gz").write_bytes(gzip.compress(stream.getvalue()))
    np.testing.assert_array_equal(read_image(tmp_path / "a.ppm.gz").numpy(), COLOUR.transpose(2, 1, 0))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_image_of_one_value_or_of_nan_is_an_image(tmp_path: Path, value: float) -> None:
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.float32), AFFINE), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").shape == (1, 3, 4, 5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_nifti_keeps_values_and_geometry(tmp_path: Path, name: str) -> None:
    nib.save(nib.Nifti1Image(VOLUME, AFFINE), tmp_path / name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.numpy(), VOLUME[None])
    np.testing.assert_array_equal(image.affine, nib.load(tmp_path / name).affine)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((5, 6), (1, 5, 6), id="flat"),
        pytest.param((5, 6, 1), (1, 5, 6, 1), id="one-slice"),
        pytest.param((5, 6, 7, 1), (1, 5, 6, 7), id="one-time-point"),
        pytest.param((5, 6, 7, 2), (2, 5, 6, 7), id="two-channels"),
    ],
)
def test_nifti_shapes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), AFFINE), tmp_path / "a.nii")
    assert tuple(read_image(tmp_path / "a.nii").shape) == expected


def test_big_endian_nifti(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(VOLUME.astype(">f4"), AFFINE, header), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").numpy(), VOLUME[None])


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
def test_itk_formats_have_the_geometry_of_nifti(tmp_path: Path, name: str) -> None:
    itk = pytest.importorskip("itk", reason="NRRD and MetaImage need the extra `itk`")
    turned = np.array([[-1.2, 0.8, 0, 10], [1.6, 0.6, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])  # 2, 1, 2.5 mm
    nib.save(nib.Nifti1Image(VOLUME, turned), tmp_path / "a.nii")
    itk.imwrite(itk.imread(str(tmp_path / "a.nii")), str(tmp_path / name))
    image, reference = read_image(tmp_path / name), read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.numpy(), VOLUME[None])
    np.testing.assert_allclose(image.affine, reference.affine, atol=1e-5)  # NIfTI stores float32


def _truncated(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _picture(path: Path) -> Path:
    save(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return path


def _nifti(path: Path) -> Path:
    nib.save(nib.Nifti1Image(VOLUME, AFFINE), path)
    return path


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.ppm"])
def test_a_truncated_picture_does_not_pass(tmp_path: Path, name: str, share: float) -> None:
    with pytest.raises(ImageError, match=f"{name} (is cut off|holds no)"):
        read_image(_truncated(_picture(tmp_path / name), share))


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_nifti_does_not_pass(tmp_path: Path, name: str, share: float) -> None:
    with pytest.raises(ImageError, match=f"{name} (is cut off|holds no)"):
        read_image(_truncated(_nifti(tmp_path / name), share))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_truncated_itk_file_does_not_pass(tmp_path: Path, name: str) -> None:
    itk = pytest.importorskip("itk", reason="NRRD and MetaImage need the extra `itk`")
    itk.imwrite(itk.image_from_array(VOLUME), str(tmp_path / name))
    with pytest.raises(ImageError, match=f"{name} is cut off or damaged; get a new copy of it"):
        read_image(_truncated(tmp_path / name, 0.7))


def test_a_damaged_png_does_not_pass(tmp_path: Path) -> None:
    path = _picture(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png "):
        read_image(path)


def test_several_pages_or_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    for name in ("a.tif", "a.gif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(ImageError, match=f"{name} holds 2 pictures"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.nii", "a.nii.gz", "a.ppm.gz"])
def test_a_text_file_by_another_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is no image\n" * 50)
    with pytest.raises(ImageError, match=f"{name} holds no .* image that can be recognised"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_text_file_with_an_itk_suffix(tmp_path: Path, name: str) -> None:
    pytest.importorskip("itk", reason="NRRD and MetaImage need the extra `itk`")
    (tmp_path / name).write_text("this is no image\n" * 50)
    with pytest.raises(ImageError, match=name):
        read_image(tmp_path / name)


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    for name, message in {
        "missing.png": r"there is no file .*missing\.png; check the path",
        "empty.png": r"empty\.png is empty \(0 bytes\)",
        "folder.png": r"folder\.png is a folder; give an image file",
        "notes.txt": r"notes\.txt is of a kind that is not read; give one of \.png, \.jpg",
    }.items():
        for read in (check_readable, read_image):
            with pytest.raises(ImageError, match=message):
                read(tmp_path / name)


def test_a_picture_of_more_pixels_than_pillow_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    save(tmp_path / "a.png", COLOUR)
    with pytest.raises(ImageError, match="more pixels than Pillow opens at once"):
        read_image(tmp_path / "a.png")


def test_a_nifti_of_rgb_voxels_is_refused_not_misread(tmp_path: Path) -> None:
    colours = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, AFFINE), tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"a\.nii holds colours"):
        read_image(tmp_path / "a.nii")


def test_a_nifti_whose_header_promises_too_much(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 42, 30000)  # dim[1]
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.nii is cut off or damaged"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "expected", "message"),
    [
        pytest.param(GREY, 3, "has 1 channel, the network expects 3; give a colour image", id="grey-for-colour"),
        pytest.param(COLOUR, 1, "has 3 channels, the network expects 1; convert the image", id="colour-for-grey"),
    ],
)
def test_wrong_number_of_channels(tmp_path: Path, array: np.ndarray, expected: int, message: str) -> None:
    save(tmp_path / "a.png", array)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.png", expected_channels=expected)
    with pytest.raises(ImageError, match=message):
        ReadImaged("image", expected_channels=expected)({"image": str(tmp_path / "a.png")})


def test_read_imaged_in_a_data_loader(tmp_path: Path) -> None:
    from monai.data import DataLoader, Dataset

    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", COLOUR)
    items = [{"image": str(tmp_path / f"{name}.png"), "name": name} for name in ("a", "b")]
    (batch,) = DataLoader(Dataset(items, ReadImaged("image")), batch_size=2)
    assert batch["image"].shape == (2, 3, 7, 5)
    assert batch["name"] == ["a", "b"]


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0), ("unknown", 1.0)])
def test_lengths_of_a_nifti_are_in_millimetres(unit: str, scale: float, tmp_path: Path) -> None:
    affine = np.array([[0, -2.0, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "volume.nii.gz")
    read = read_image(tmp_path / "volume.nii.gz")
    expected = np.diag([scale, scale, scale, 1.0]) @ affine
    assert np.allclose(read.affine.numpy(), expected)
    assert np.allclose(read.meta["original_affine"], expected)
