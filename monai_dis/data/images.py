"""Reading one image of a user: MONAI's readers, and one clear sentence for everything that can be wrong with a file.

Arrays have MONAI's order of axes: ``(C, columns, rows)`` for a picture, ``(C, *spatial)`` of the file for a volume.
What is written by :func:`monai_dis.data.write_segmentation` has the file's own order again.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection
from monai.data import ITKReader, MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import EnsureChannelFirst, MapTransform
from monai.utils import OptionalImportError
from nibabel.filebasedimages import ImageFileError
from PIL import Image, UnidentifiedImageError

from monai_dis.data.image_files import IMAGE_SUFFIXES, PICTURE_SUFFIXES, image_suffix
from monai_dis.data.nifti import NiftiReader
from monai_dis.data.pictures import PictureReader
from monai_dis.data.volume_headers import check_first_bytes
from monai_dis.errors import ImageError

__all__ = ["ReadImaged", "check_channels", "check_readable", "read_image", "read_with"]

#: Millimetres in NIfTI's units of length other than mm (nifti1.h).
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_CUT = re.compile(r"truncat|expected \d+ bytes|error reading|cannot be read", re.IGNORECASE)


def read_image(path: str | Path, *, expected_channels: int | None = None) -> MetaTensor:
    """Read an image file: PNG, JPEG, TIFF, BMP (and GIF, PPM), NIfTI, NRRD, MetaImage.

    Palettes are looked up, transparency is dropped, 16 bits of one channel are kept and colours are 0 to 255, an orientation
    of EXIF or TIFF is applied: a picture and its segmentation are turned as viewers show the picture.

    Args:
        path: the file; its suffix, in any case, says how it is read.
        expected_channels: channels that the network takes; None to take any number.

    Returns:
        ``(C, *spatial)`` float32 with the file's geometry; a picture is ``(C, columns, rows)``, as from MONAI's
        ``LoadImage``.

    Raises:
        ImageError: when the file is missing, empty, damaged, of an unknown kind or has other channels than expected.
    """
    path = check_readable(path)
    image = read_with(path, PictureReader() if image_suffix(path) in PICTURE_SUFFIXES else _volume_reader(path))
    if expected_channels is not None:
        check_channels(image, expected_channels, path)
    return image


def check_readable(path: str | Path) -> Path:
    """See that there is a file which may be an image, at no cost: its first bytes at most are read.

    Returns:
        the path, with ``~`` replaced.

    Raises:
        ImageError: when the file is missing, a folder, empty, not permitted, or of a suffix that is not read, or not its own.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give an image file.")
    if not path.exists():
        raise ImageError(f"there is no file {path}; check the path.")
    if not image_suffix(path):
        raise ImageError(f"{path} is of a kind that is not read; give one of {', '.join(IMAGE_SUFFIXES)}.")
    if not os.access(path, os.R_OK):
        raise ImageError(f"{path} may not be read; change its permissions.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); get a new copy of it.")
    check_first_bytes(path)
    return path


def check_channels(image: MetaTensor, expected: int, path: str | Path) -> None:
    """See that an image has the channels that a network takes.

    Args:
        image: ``(C, *spatial)``.
        expected: channels of the network's input.
        path: named in the error.

    Raises:
        ImageError: when they differ.
    """
    if image.shape[0] == expected:
        return
    has = f"{image.shape[0]} channel{'s' if image.shape[0] != 1 else ''}"
    advice = (
        "give a colour image" if expected == 3 else "convert the image, or use a bundle that was trained on such images"
    )
    raise ImageError(f"{path} has {has}, the network expects {expected}; {advice}.")


def read_with(path: Path, reader: ImageReader) -> MetaTensor:
    """Read a file with this reader of MONAI's and no other, as ``(C, *spatial)`` float32.

    Raises:
        ImageError: when the reader fails.
    """
    # MONAI's `LoadImage` tries one reader after the other, and one that lets a damaged file pass is soon found.
    with _explained(path):
        values, meta = reader.get_data(reader.read(str(path)))
        meta = {**meta, "filename_or_obj": str(path)}
        meta = _in_millimetres(meta)
        whole = MetaTensor.ensure_torch_and_prune_meta(values.astype(np.float32, order="C"), meta)
        image = cast(MetaTensor, EnsureChannelFirst()(whole))
    if 0 in image.shape:
        raise ImageError(f"{path} has no pixels (size {'x'.join(map(str, image.shape[1:]))}); get a new copy of it.")
    return image


class ReadImaged(MapTransform):
    """Dictionary transform: replace paths by images with :func:`read_image`, for a bundle's config.

    Args:
        keys: keys of the paths.
        expected_channels: channels that the network takes; None to take any number.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self, keys: KeysCollection, expected_channels: int | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.expected_channels = expected_channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with images ``(C, *spatial)``.

        Raises:
            ImageError: see :func:`read_image`.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = read_image(result[key], expected_channels=self.expected_channels)
        return result


def _in_millimetres(meta: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a NIfTI file whose header says metres or micrometres, in mm; MONAI's reader takes any length for mm."""
    scale = _MM_PER_UNIT.get(int(meta.get("xyzt_units", 0)) & 7)
    if scale is None:
        return meta
    scaled = dict(meta)
    for key in ("affine", "original_affine"):
        affine = np.array(meta[key], dtype=np.float64)
        affine[:3] *= scale
        scaled[key] = affine
    return scaled


def _volume_reader(path: Path) -> ImageReader:
    if image_suffix(path) in (".nii", ".nii.gz"):
        return NiftiReader(squeeze_non_spatial_dims=True)
    try:
        return ITKReader()
    except OptionalImportError as error:
        raise ImageError(f"reading {path} needs ITK; install it with `pip install 'monai-dis[itk]'`.") from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what readers raise into a sentence; their own messages name neither the file nor the remedy."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except (UnidentifiedImageError, ImageFileError, gzip.BadGzipFile) as error:
        kind = image_suffix(path).removeprefix(".").upper()
        raise ImageError(f"{path} holds no {kind} image that can be recognised; get a new copy of it.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has more pixels than Pillow opens at once; save it as a tiled TIFF, which is read piece by piece with "
            '`pip install "monai-dis[slides]"`.'
        ) from error
    except Exception as error:
        # Readers raise anything for a damaged file: OSError, SyntaxError, ValueError, EOFError, RuntimeError, ...
        cut = isinstance(error, (EOFError, zlib.error)) or _CUT.search(str(error))
        damage = "is cut off or damaged" if cut else f"cannot be decoded ({_reason(error)})"
        raise ImageError(f"{path} {damage}; get a new copy of it.") from error


def _reason(error: Exception) -> str:
    """First line of an error's message that says something; ITK's begin with a place in its source."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if ".cxx:" not in line]
    return next((line[:120] for line in lines if line), type(error).__name__)
