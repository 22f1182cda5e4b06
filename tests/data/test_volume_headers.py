"""Volume files whose readers would differ: read as they state, or refused with what to do."""

from __future__ import annotations

import gzip
import resource
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_dis.checks.header import check_header
from monai_dis.checks.limits import Limits
from monai_dis.data import read_image, write_segmentation
from monai_dis.errors import ImageError, OutputError

AFFINE = np.array([[0, -2, 0, 5.0], [-2, 0, 0, 7.0], [0, 0, 3, -11.0], [0, 0, 0, 1]])
VALUES = np.arange(8 * 7 * 6, dtype=np.int16).reshape(8, 7, 6)


def sform_alone(path: Path, pixdim: tuple[float, float, float]) -> Path:
    image = nib.Nifti1Image(VALUES, None)
    image.header.set_zooms(pixdim)
    image.set_sform(AFFINE, code=2)
    image.set_qform(None, code=0)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("pixdim", [(2, 2, 3), (2.0004, 2, 3), (1.99, 2, 3), (1, 1, 1)])
def test_the_affine_is_that_of_the_sform(pixdim: tuple[float, float, float], tmp_path: Path) -> None:
    """MONAI's reader takes the qform, which is not there, where pixdim is rounded: the image would lose place and orientation."""
    path = sform_alone(tmp_path / "a.nii", pixdim)
    assert np.allclose(read_image(path).affine, AFFINE)
    if max(abs(a / b - 1) for a, b in zip(pixdim, (2, 2, 3), strict=True)) < 0.01:
        assert check_header(path, Limits(), {})["verdict"] != "reject"
    else:
        with pytest.raises(
            ImageError, match="AFFINE_CONFLICT: the sform has voxels of 2 x 2 x 3 mm, pixdim says 1 x 1 x 1"
        ):
            check_header(path, Limits(), {})


@pytest.mark.parametrize("excess", [-1e-6, 1e-7, 1e-6, 1e-5])
def test_a_quaternion_that_is_too_long_by_rounding_is_a_turn(excess: float, tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, None)
    image.set_qform(np.diag([-1, -1, 1, 1.0]), code=1)
    image.set_sform(None, code=0)
    image.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3f", content, 256, 0.0, 0.0, 1 + excess)  # quatern_b, c, d
    (tmp_path / "a.nii").write_bytes(content)
    # a quaternion that is too short says what it says: a turn by nearly 180 degrees
    tolerance = 1e-6 if excess > 0 else 5e-3
    assert np.allclose(read_image(tmp_path / "a.nii").affine, np.diag([-1, -1, 1, 1.0]), atol=tolerance)
    assert check_header(tmp_path / "a.nii", Limits(), {})["verdict"] != "reject"


def gzipped_nii(folder: Path) -> Path:
    path = sform_alone(folder / "plain.nii", (2, 2, 3)).with_name("a.nii")
    path.write_bytes(gzip.compress((folder / "plain.nii").read_bytes()))
    return path


def plain_gz(folder: Path) -> Path:
    return sform_alone(folder / "a.nii", (2, 2, 3)).rename(folder / "a.nii.gz")


def complex_nii(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(VALUES.astype(np.complex64), AFFINE), folder / "a.nii")
    return folder / "a.nii"


def rgb_nii(folder: Path) -> Path:
    colour = np.zeros((8, 7, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(colour, AFFINE), folder / "a.nii")
    return folder / "a.nii"


def nrrd_in(unit: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        units = " ".join([f'"{unit}"'] * 3)
        head = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 7 6\n"
            f"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace units: {units}\nkinds: domain domain domain\n"
            "endian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
        )
        (folder / "a.nrrd").write_bytes(head.encode() + VALUES.tobytes(order="F"))
        return folder / "a.nrrd"

    return write


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(gzipped_nii, r"is gzipped.*rename it to a\.nii\.gz", id="gzipped-nii"),
        pytest.param(plain_gz, r"is not gzipped.*rename it to a\.nii\.", id="plain-gz"),
        pytest.param(complex_nii, "complex voxels.*save the magnitude", id="complex"),
        pytest.param(rgb_nii, "holds colours", id="colours"),
        pytest.param(nrrd_in("um"), "measures space in um.*convert", id="nrrd-um"),
    ],
)
def test_what_readers_take_in_different_ways_is_refused(
    make: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=sentence):
        read_image(make(tmp_path))


def test_an_nrrd_in_mm_is_read(tmp_path: Path) -> None:
    pytest.importorskip("itk")
    assert np.array_equal(read_image(nrrd_in("mm")(tmp_path)).numpy()[0], VALUES)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_flat_file_is_a_picture(suffix: str, tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    image = itk.image_from_array(np.arange(35, dtype=np.uint8).reshape(5, 7))
    image.SetSpacing([0.5, 0.5])
    itk.imwrite(image, str(tmp_path / f"a{suffix}"))
    assert check_header(tmp_path / f"a{suffix}", Limits(), {})["verdict"] == "accept"
    read = read_image(tmp_path / f"a{suffix}")
    assert read.shape == (1, 7, 5)
    write_segmentation((read.as_tensor() > 9).to(torch.uint8), read, tmp_path / f"b{suffix}")
    written = itk.imread(str(tmp_path / f"b{suffix}"))
    assert np.array_equal(itk.array_from_image(written), np.arange(35).reshape(5, 7) > 9)
    assert list(written.GetSpacing()) == [0.5, 0.5]


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Files may hold so many bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_file_is_whole_or_not_there(suffix: str, share: float, tmp_path: Path) -> None:
    if suffix in (".nrrd", ".mha"):
        pytest.importorskip("itk")
    image = read_image(sform_alone(tmp_path / "a.nii", (2, 2, 3)))
    labels = torch.as_tensor(np.random.default_rng(0).integers(0, 5, (1, 8, 7, 6)))
    write_segmentation(labels, image, tmp_path / f"whole{suffix}")
    room = int(share * (tmp_path / f"whole{suffix}").stat().st_size)
    with room_for(room), pytest.raises(OutputError, match="make room"):
        write_segmentation(labels, image, tmp_path / f"cut{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", f"whole{suffix}"]
