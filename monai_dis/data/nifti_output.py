"""Volumes as NIfTI, whole or not at all."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from monai_dis.data.atomic import written_whole
from monai_dis.data.coordinates import is_sheared

__all__ = ["Space", "write_nifti"]

_nifti: Any = nibabel


class Space(IntEnum):
    """In which coordinates a volume lies, by the codes of NIfTI.

    Attributes:
        SCANNER: of the scanner, as DICOM states them.
        ALIGNED: of another file, whatever it takes them from.
    """

    SCANNER = 1
    ALIGNED = 2


def write_nifti(
    values: npt.NDArray[Any], affine: npt.NDArray[np.float64], path: Path, space: Space, comment: str = ""
) -> None:
    """Write a volume.

    Args:
        values: voxels ``(*spatial)``, or ``(*spatial, layers)``, in the type that is stored.
        affine: (4, 4) from voxels to RAS coordinates in mm.
        path: ``.nii`` or ``.nii.gz``.
        space: what the coordinates are.
        comment: for a comment extension of the header.

    Raises:
        OutputError: when it cannot be written.
    """
    image = _nifti.Nifti1Image(values, affine)
    if space is Space.SCANNER:
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code=int(space))
        # A quaternion cannot say that slices are sheared: then the matrix alone places the volume.
        image.set_qform(affine, code=0 if is_sheared(affine) else int(space), strip_shears=True)
    if comment:
        image.header.extensions.append(_nifti.nifti1.Nifti1Extension("comment", comment.encode()))
    with written_whole(path) as temporary:
        _nifti.save(image, temporary)
