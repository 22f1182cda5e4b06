"""Reading NIfTI through nibabel and MONAI's reader, with the geometry that the file states and nothing else.

MONAI's ``NibabelReader`` replaces an sform whose scale differs from ``pixdim`` by the qform, even where the file has none: an image of
rounded ``pixdim`` would lose its orientation. nibabel refuses a unit quaternion that is longer than 1 by rounding (1e-6), which nifti1_io.c
and ITK normalise.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from monai.data import NibabelReader

from monai_dis.errors import ImageError

__all__ = ["NiftiReader", "nifti_header"]

#: By how much the squared length of a quaternion may exceed 1.
_QUATERNION_SLACK = 1e-4
_NIFTI2_BYTES = 540


class _UnitQuaternion:
    """A header whose quaternion may be longer than 1 by rounding: a turn by 180 degrees, as nifti1_io.c takes it."""

    def get_qform_quaternion(self) -> Any:
        """(a, b, c, d) of length 1."""
        vector = np.array([self[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)  # type: ignore[index]
        squared = float(vector @ vector)
        if 1 < squared <= 1 + _QUATERNION_SLACK:
            return np.array([0.0, *(vector / np.sqrt(squared))])
        return super().get_qform_quaternion()  # type: ignore[misc]


class _Header1(_UnitQuaternion, nib.Nifti1Header):
    pass


class _Header2(_UnitQuaternion, nib.Nifti2Header):
    pass


class _Image1(nib.Nifti1Image):
    header_class = _Header1


class _Image2(nib.Nifti2Image):
    header_class = _Header2


def nifti_header(head: bytes) -> Any:
    """The NIfTI-1 or NIfTI-2 header at the beginning of a file, as nibabel has it, unchecked.

    Raises:
        struct.error: when there are too few bytes.
    """
    order = "<" if struct.unpack_from("<i", head)[0] in (348, _NIFTI2_BYTES) else ">"
    kind = _Header2 if struct.unpack_from(f"{order}i", head)[0] == _NIFTI2_BYTES else _Header1
    return cast(Any, kind)(head[: kind.sizeof_hdr], endianness=order, check=False)


class NiftiReader(NibabelReader):
    """MONAI's reader, with the affine of the file's own sform or qform.

    Raises:
        ImageError: when voxels are complex numbers or colours, of which MONAI's reader would drop parts.
    """

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Open a file; see MONAI's reader.

        Args:
            data: path of a ``.nii`` or ``.nii.gz``.
            kwargs: not used.
        """
        path = Path(data)
        self.filenames = (str(path),)  # for MONAI's get_data
        image: Any = _opened(path)
        kind = np.dtype(image.header.get_data_dtype())
        if kind.kind == "c":
            raise ImageError(
                f"{path} holds complex voxels (real and imaginary parts); save the magnitude, which the network takes."
            )
        if kind.fields is not None:
            raise ImageError(f"{path} holds colours, the channels of each voxel in one value; save one file a channel.")
        return image


def _opened(path: Path) -> Any:
    for kind in (_Image1, _Image2):
        if kind.path_maybe_image(path)[0]:
            return kind.from_filename(path)
    return nib.load(path)  # says what is wrong
