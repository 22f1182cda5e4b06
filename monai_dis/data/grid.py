"""Where the voxels of a file lie: size and affine, from an image that was read or from a header alone.

Letters in shapes: ``*spatial`` the axes of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from monai.data import MetaTensor, NibabelReader

from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix
from monai_dis.data.images import check_readable, read_image

__all__ = ["Grid", "Matrix"]

Matrix = npt.NDArray[np.float64]

_NIFTI = (".nii", ".nii.gz")
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a file.

    Attributes:
        size: ``*spatial``.
        affine: from voxel indices to RAS coordinates in mm, of as many axes as the file's reader gives.
        in_space: whether the affine means anything: a picture has no place in space.
        path: the file, for messages; empty when it has none.
    """

    size: tuple[int, ...]
    affine: Matrix
    in_space: bool = True
    path: str = ""

    @property
    def matrix(self) -> Matrix:
        """(4, 4) affine; of a plane, with a third axis of one millimetre."""
        axes = min(len(self.affine) - 1, 3)
        whole = np.eye(4)
        whole[:axes, :axes], whole[:axes, 3] = self.affine[:axes, :axes], self.affine[:axes, -1]
        return whole

    @classmethod
    def of(cls, image: MetaTensor) -> Grid:
        """The grid of the file that an image was read from, whatever was done to the image since.

        Args:
            image: ``(C, *spatial)`` with its metadata.
        """
        path = str(image.meta.get("filename_or_obj", ""))
        size = tuple(int(n) for n in image.meta.get("spatial_shape", image.shape[1:]))
        affine = np.array(image.meta.get("original_affine", image.affine), dtype=np.float64)
        return cls(size, affine, image_suffix(path) not in PICTURE_SUFFIXES, path)

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """The grid of a file; of NIfTI the header alone is read.

        Raises:
            ImageError: when the file cannot be read.
        """
        path = check_readable(path)
        if image_suffix(path) not in _NIFTI:
            return cls.of(read_image(path))
        try:
            file = NibabelReader().read(str(path))
            affine, size = np.array(file.affine, dtype=np.float64), tuple(int(n) for n in file.shape[:3])
            affine[:3] *= _MM_PER_UNIT.get(file.header.get_xyzt_units()[0], 1.0)
        except Exception:  # the whole reader has the sentence for what is wrong
            return cls.of(read_image(path))
        return cls(size, affine, path=str(path))

    def corners(self) -> Matrix:
        """(8, 3) centres of the corner voxels, in mm."""
        last = [n - 1 for n in (*self.size, 1, 1, 1)[:3]]
        indices = [[*(bit * n for bit, n in zip(bits, last, strict=True)), 1] for bits in product((0, 1), repeat=3)]
        corners: Matrix = (np.array(indices) @ self.matrix.T)[:, :3]
        return corners
