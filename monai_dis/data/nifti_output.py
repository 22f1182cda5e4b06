"""Volumes as NIfTI, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from monai_dis.data.atomic import written_whole
from monai_dis.data.coordinates import is_sheared

__all__ = ["write_nifti"]

_nifti: Any = nibabel
_SCANNER, _UNKNOWN = 1, 0


def write_nifti(
    values: npt.NDArray[Any], affine: npt.NDArray[np.float64], path: Path, *, units: str = "unknown", comment: str = ""
) -> None:
    """Write a volume.

    Args:
        values: voxels ``(*spatial)``, or ``(*spatial, layers)``, in the type that is stored.
        affine: (4, 4) from voxels to RAS coordinates.
        path: ``.nii`` or ``.nii.gz``.
        units: of the coordinates, as nibabel names them; ``mm`` where they are known.
        comment: for a comment extension of the header.

    Raises:
        OutputError: when it cannot be written.
    """
    image = _nifti.Nifti1Image(values, affine)
    image.header.set_xyzt_units(units)
    image.set_sform(affine, code=_SCANNER)
    # A quaternion cannot say that axes are sheared: then the matrix alone places the volume.
    image.set_qform(affine, code=_UNKNOWN if is_sheared(affine) else _SCANNER, strip_shears=True)
    if comment:
        image.header.extensions.append(_nifti.nifti1.Nifti1Extension("comment", comment.encode()))
    with written_whole(path) as temporary:
        _nifti.save(image, temporary)
