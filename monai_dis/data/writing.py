"""Writing a segmentation beside its image: same pixels, same geometry, whole or not at all."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ITKWriter, MetaTensor, PILWriter
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform
from monai.utils import OptionalImportError
from numpy.typing import NDArray

from monai_dis.data.atomic import written_whole
from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.data.image_files import image_stem, image_suffix, segmentation_suffix
from monai_dis.data.nifti_output import write_nifti
from monai_dis.data.nrrd import write_nrrd
from monai_dis.errors import OutputError

__all__ = ["WriteSegmentationd", "write_segmentation"]

_LARGEST_BYTE = 255


def write_segmentation(labels: torch.Tensor, reference: MetaTensor | Mapping[str, Any], path: str | Path) -> None:
    """Write class indices as an image file of the same size and geometry as the image they belong to.

    Args:
        labels: ``(1, *spatial)`` class indices on the grid of the image's file, in the order of axes of
            :func:`monai_dis.data.read_image`.
        reference: the image as it was read, or its metadata; the geometry is that of its file (``original_affine``).
        path: ``.png`` for a picture, whose grey values are the class indices; ``.nii``, ``.nii.gz``, ``.nrrd`` or
            ``.mha`` for a volume. See :func:`monai_dis.data.segmentation_suffix`.

    Raises:
        ValueError: when the labels are not one channel on the grid of the file.
        OutputError: when the file cannot be written; nothing is left of it then.
    """
    path, meta = Path(path), reference.meta if isinstance(reference, MetaTensor) else reference
    size = tuple(int(n) for n in meta["spatial_shape"])
    if tuple(labels.shape) != (1, *size):
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, the image needs {(1, *size)}; bring them to its grid first."
        )
    plain = labels.as_tensor() if isinstance(labels, MetaTensor) else labels
    small = int(plain.max()) <= _LARGEST_BYTE
    values = plain.cpu().numpy().astype(np.uint8 if small else np.uint16)[0]
    affine, suffix = np.asarray(meta.get("original_affine", meta["affine"]), dtype=np.float64), image_suffix(path)
    if suffix == ".nrrd":
        write_nrrd(values, swap_ras_lps(_of_axes(affine, values.ndim)), path)
        return
    if suffix in (".nii", ".nii.gz"):
        write_nifti(values, to_affine_nd(3, affine), path)
        return
    writer, options = _writer(path, values.dtype)
    # Set as they are: `set_data_array` drops a last axis of one element, and `set_metadata` resamples on the way.
    writer.data_obj, writer.channel_dim, writer.affine = values, None, affine
    with written_whole(path) as temporary:
        try:
            writer.write(str(temporary), **options)
        except RuntimeError as error:  # ITK's, whose last line says why
            raise OSError((str(error).strip().splitlines() or [""])[-1].removeprefix("Reason: ")) from error
        if suffix == ".mha":
            _check_whole(temporary, values.nbytes)


def _of_axes(affine: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """The affine of a volume, or of a picture in its plane."""
    return affine if len(affine) == dims + 1 else affine[np.ix_([*range(dims), -1], [*range(dims), -1])]


def _check_whole(path: Path, wanted: int) -> None:
    """See that a file of ITK's holds all its voxels: on a full disk ITK reports nothing.

    Raises:
        OSError: when bytes are missing.
    """
    head, found, packed = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    try:
        size = len(zlib.decompress(packed)) if b"CompressedData = True" in head else len(packed)
    except zlib.error:
        size = -1
    if not found or size != wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class WriteSegmentationd(MapTransform):
    """Dictionary transform: write class indices as ``<stem>_<postfix>`` in a folder, for a bundle's config.

    The labels must carry the metadata of the image that they belong to, as MONAI's ``Invertd`` leaves them.

    Args:
        keys: keys of the class indices ``(1, *spatial)``.
        output_dir: folder of the files; made when missing.
        postfix: put behind the image's stem.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | Path, postfix: str = "seg", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.folder = Path(output_dir)
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files and return ``data`` as it is.

        Raises:
            OutputError: when a file cannot be written.
        """
        result = dict(data)
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in self.key_iterator(result):
            labels: MetaTensor = result[key]
            source = labels.meta["filename_or_obj"]
            name = f"{image_stem(source)}_{self.postfix}{segmentation_suffix(source)}"
            write_segmentation(labels, labels, self.folder / name)
        return result


def _writer(path: Path, dtype: np.dtype[Any]) -> tuple[Any, dict[str, Any]]:
    suffix = image_suffix(path)
    if suffix == ".png":
        return PILWriter(output_dtype=dtype, scale=None), {}
    if suffix != ".mha":
        raise OutputError(
            f"a segmentation cannot be written as {path.name}; choose .png, .nii, .nii.gz, .nrrd or .mha."
        )
    try:
        return ITKWriter(output_dtype=dtype), {"compression": True}
    except OptionalImportError as error:
        raise OutputError(f"writing {path} needs ITK; install it with `pip install 'monai-dis[itk]'`.") from error
