"""Stored values of a file's frames, by whichever decoder has its transfer syntax."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_dis.dicom.codecs import Decoder, decoder_of
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.values import integer
from monai_dis.dicom.writing import save_options
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["decoded_frames"]

Plane = npt.NDArray[Any]

_PIXEL_MODULE = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
)  # fmt: skip
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # a class that asks for no more than pixels
_ERRORS = Lock()


def decoded_frames(data: Dataset, syntax: str, indices: Sequence[int]) -> Iterator[Plane]:
    """Decode some frames of a file, one at a time where the decoder can.

    Args:
        data: whole data set, as `monai_dis.dicom.instance.open_data_set` gives it.
        syntax: its transfer syntax.
        indices: of the frames, from 0.

    Yields:
        stored values, (rows, columns) or (rows, columns, colours) each; YBR of pydicom is not turned into RGB.

    Raises:
        DicomError: when the frames cannot be decoded; no value of the file is quoted.
    """
    decoder = decoder_of(syntax, integer(data, "BitsStored") or 16)
    try:
        with discreet():
            if decoder is Decoder.GDCM:
                yield from _compressed(data, indices, lambda frame: _by_gdcm(frame, data, syntax))
            elif decoder is Decoder.OPENJPEG:
                yield from _compressed(data, indices, lambda frame: _by_openjpeg(frame, data))
            else:
                yield from _by_pydicom(data, indices)
    except (MemoryError, GeneratorExit):
        raise
    except Exception as error:
        # Decoders raise anything for damaged data, and their messages may quote it.
        raise DicomError(
            f"FILE_CORRUPT: the pixels of a file cannot be decoded ({type(error).__name__}); get a new copy of it."
        ) from None


def _by_pydicom(data: Dataset, indices: Sequence[int]) -> Iterator[Plane]:
    if len(indices) == 1 and _count(data) == 1:
        yield data.pixel_array
    elif int(require("pydicom").__version__.split(".")[0]) >= 3:
        yield from require("pydicom.pixels").iter_pixels(data, indices=list(indices), raw=True)
    else:
        whole = data.pixel_array
        yield from (whole[index] if _count(data) > 1 else whole for index in indices)


def _compressed(data: Dataset, indices: Sequence[int], decode: Callable[[bytes], Plane]) -> Iterator[Plane]:
    """Frames of encapsulated pixels, each decoded by itself."""
    encaps: Any = require("pydicom.encaps")
    if hasattr(encaps, "generate_frames"):
        frames = encaps.generate_frames(data.PixelData, number_of_frames=_count(data))
    else:
        frames = encaps.generate_pixel_data_frame(data.PixelData, _count(data))
    wanted = set(indices)
    # In the order of the file: frames are not asked for in any other.
    yield from (decode(frame) for index, frame in enumerate(frames) if index in wanted)


def _count(data: Dataset) -> int:
    return integer(data, "NumberOfFrames") or 1


def _by_openjpeg(frame: bytes, data: Dataset) -> Plane:
    plane: Plane = require("openjpeg").decode(frame)
    bits = integer(data, "BitsStored") or 16
    if integer(data, "PixelRepresentation") and plane.dtype.kind == "u":
        # The code stream may not say that its values have a sign; the header does.
        wide = plane.astype(np.int64)
        plane = np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide)
    return plane


def _by_gdcm(frame: bytes, data: Dataset, syntax: str) -> Plane:
    """One frame in a file of nothing but pixels: ITK reads files alone, and would apply a rescale."""
    itk, dataset = require("itk"), require("pydicom.dataset")
    meta = dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    single: Any = dataset.FileDataset(
        "", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True
    )
    single.SOPClassUID, single.SOPInstanceUID, single.Modality = _CAPTURE, "2.25.1", "OT"
    for keyword in _PIXEL_MODULE:
        if keyword in data:
            setattr(single, keyword, data[keyword].value)
    single.PixelData = require("pydicom.encaps").encapsulate([frame])
    single["PixelData"].VR = "OB"
    single["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory(prefix="monai-dis-") as folder:  # mode 0700
        path = Path(folder) / "frame"
        single.save_as(path, **save_options())
        with _quiet_errors():
            image = itk.imread(str(path), imageio=itk.GDCMImageIO.New())
    plane: Plane = np.asarray(itk.array_from_image(image))[0]
    return plane


@contextmanager
def _quiet_errors() -> Iterator[None]:
    """GDCM tries its 8-bit decoder first and says on standard error, below Python, that it is not the one."""
    with _ERRORS:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
