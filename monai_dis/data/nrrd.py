"""Labels as NRRD (http://teem.sourceforge.net/nrrd/format.html), whole or not at all, with the same bytes for the same labels."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from monai_dis.data.atomic import written_whole

__all__ = ["write_nrrd"]

_TYPES = {"uint8": "unsigned char", "uint16": "unsigned short"}
_COMPRESSION = 4  # labels are small at any level; higher ones only take longer


def write_nrrd(
    values: npt.NDArray[Any],
    affine_lps: npt.NDArray[np.float64],
    path: Path,
    *,
    more: Mapping[str, str] | None = None,
    compress: bool = True,
) -> None:
    """Write class indices or layers of them.

    Args:
        values: (columns, rows[, slices]), or (layers, columns, rows, slices); uint8 or uint16.
        affine_lps: (4, 4) from voxels to LPS coordinates in mm; (3, 3) of a picture.
        path: the file.
        more: keys and values besides the format's own.
        compress: gzip; without it the bytes of the voxels are at the end of the file as they are.

    Raises:
        OutputError: when it cannot be written.
    """
    head = [*_header(values, affine_lps, compress), *(f"{key}:={value}" for key, value in (more or {}).items())]
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(head) + "\n\n").encode())
        if compress:
            # Without the clock's time in it: equal labels give equal bytes.
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
                _write_voxels(values, packed)
        else:
            _write_voxels(values, file)


def _write_voxels(values: npt.NDArray[Any], file: IO[bytes] | gzip.GzipFile) -> None:
    """Slice by slice, the first axis fastest."""
    for place in range(values.shape[-1]):
        file.write(values[..., place].T.astype(values.dtype.newbyteorder("<"), order="C").tobytes())


def _header(values: npt.NDArray[Any], affine: npt.NDArray[np.float64], compress: bool) -> list[str]:
    layered = values.ndim == 4
    dims = values.ndim - layered

    def vector(numbers: npt.NDArray[Any]) -> str:
        return "(" + ",".join(repr(float(number)) for number in numbers) + ")"

    return [
        "NRRD0004",
        f"type: {_TYPES[values.dtype.name]}",
        f"dimension: {values.ndim}",
        "space: left-posterior-superior" if dims == 3 else f"space dimension: {dims}",
        f"sizes: {' '.join(map(str, values.shape))}",
        f"space directions: {'none ' if layered else ''}{' '.join(vector(axis) for axis in affine[:dims, :dims].T)}",
        f"kinds: {'list ' if layered else ''}{' '.join(['domain'] * dims)}",
        "endian: little",
        f"encoding: {'gzip' if compress else 'raw'}",
        f"space origin: {vector(affine[:dims, -1])}",
    ]
