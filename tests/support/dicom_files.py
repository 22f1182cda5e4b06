"""Bytes of files: DICOM in any transfer syntax without an encoder, NIfTI, NRRD, MetaImage, ZIP."""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dicom_objects import stable_uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

JPEG_EXTENDED_12_BIT = UID("1.2.840.10008.1.2.4.51")

JPEG_LOSSLESS_SV1 = UID("1.2.840.10008.1.2.4.70")

HTJ2K_LOSSLESS = UID("1.2.840.10008.1.2.4.201")

UNREGISTERED_SYNTAX = UID("1.2.840.10008.1.2.4.99")

PART10_MAGIC_OFFSET = 128

CODED_ROWS, CODED_COLUMNS = 16, 24

CODED_MARK_ROW, CODED_MARK_COLUMN, CODED_MARK_VALUE = 11, 5, 3000

CODE_STREAMS = {
    "jpeg-lossless-sv1": """
/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQABgBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAAAwYM
EP/aAAgBAQABAADnd3d3d3d3d3d3d3eod3d3d3d3d3d3d3d6h3d3d3d3d3d3d3d3qHd3d3d3d3d3
d3d3eod3d3d3d3d3d3d3d6h3d3d3d3d3d3d3d3qHd3d3d3d3d3d3d3eod3d3d3d3d3d3d3d6h3d3
d3d3d3d3d3d3qHd3d3d3d3d3d3d3eod3d3d3d3d3d3d3d6h3d9PJmKXd3d3d3d3d3eod3d3d3d3d
3d3d3d6h3d3d3d3d3d3d3d3qHd3d3d3d3d3d3d3eod3d3d3d3d3d3d3d/wD/2Q==""",
    "jpeg-ls": """
/9j/9wALDAAQABgBAREA/9oACAEBAAAAAKbNlzZdM8tZzZdM8tZznOc5UJ0yqialKSlKVVVRERET
lCIiSSSSSSSSSTE6SSSVVVVVVJlVVVVV/Qlf/3/mSP9//yI3/3/6In//f6IX/3/5IH//f5fvAAAA
ABxEAAAAABxThQoUKFChQoUKFChQoUKXyKKKcAAAAADkooRRRRRRRRRRRRRRQQS9QQQQQQQQQQQQ
QQQhCEIQhXiEIQhCEIQhCEIQhCEIQrtCERERERERERERERT/2Q==""",
    "jpeg-2000": """
/0//UQApAAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAABCwEB/1IADAAAAAEAAQQE
AAH/XAAHQGBoaHD/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAA
AACxAAH/k9/h2BIwx5avo+sJtMfTUpNcOGihylapWacWDmqSvtAiKeZtJ2iJ0hXI0hIeCSZ1A/iK
eTbwqpXSFSbGHOcDrjHM3nobnV4ibqHzUoap8yvcPbw+tq1cb3cXB6whrO7NB7pOtx0BfHLGj+0n
DYbDYixClbrfuvrWdX/D9gyH7CEf4BRZEJJH/Y4L1yffBzNZRKcxVFdKa9G8rYXfG0BPWV1zUt3/
2Q==""",
    "htj2k": """
/0//UQApQAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9S
AAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4z
Lv+QAAoAAAAAANQAAf+TwAAmEf4FB3QAwAASgOIBB3QAwAASQAATwAASgP4XcwAEm/sAgjQA+ADH
dADAABUwAAVkAAFQi7jg/QDJfJUAA7AFiNH+ACEB/rYAFXpA4whJlADAABWwAAWlAABUgO6TRAlE
98BTiB3CdwAlAjkdklCUlcn+4BD2IYAd2ABNTqfO5ACB1QDAAC0oAAW5AACoJMkOyQ7584wpyj+p
yhenQnwA7GTHCSeccMIJJxzHcRzn/iAhA9+wj2rK6KC9ALjz/jABwnYA/9k=""",
    "jpeg-extended-12": """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYF
BgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/wQALDAAQABgBAREA/8QAFwABAAMAAAAA
AAAAAAAAAAAACAcKDf/EACEQAAEDAgcBAAAAAAAAAAAAAAYFBwgACgQJJzNEUeED/9oACAEBAAA/
AMKRj/aTbGmfXE8pwR/tJtjTPrieU4I/2k2xpn1xPKvvZQ9r7kxt3FSaghmiZXcnnhfA8jCkIWXC
4bByuHW2FGMef5umAqamZOSPKwATYx1hLENknOiLYcRRVgCUcKUmIiWfQoxiYHqgMZyFH+0m2NM+
uJ5Tgj/aTbGmfXE8r//Z""",
}


def write_part10(
    path: Path,
    dataset: Dataset,
    transfer_syntax: str = ExplicitVRLittleEndian,
    preamble: bytes = b"\0" * PART10_MAGIC_OFFSET,
) -> None:
    """Write a DICOM file with fixed file meta information.

    The parts are written one by one, because the whole-file functions of pydicom
    2.4 and 3 differ and refuse transfer syntaxes that they do not know.
    """
    syntax = UID(str(transfer_syntax))
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = stable_uid("implementation")
    meta.ImplementationVersionName = "PHANTOM_1"
    header, body = DicomBytesIO(), DicomBytesIO()
    header.is_little_endian, header.is_implicit_VR = True, False
    write_file_meta_info(header, meta)
    body.is_little_endian = syntax != ExplicitVRBigEndian
    body.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(body, dataset)
    content = body.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        content = deflate(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(preamble + b"DICM" + header.getvalue() + content)


def deflate(*parts: bytes) -> bytes:
    """Return a raw deflate stream of the parts, padded to an even length."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = b"".join(compressor.compress(part) for part in parts) + compressor.flush()
    return stream + b"\0" * (len(stream) % 2)


@functools.lru_cache(maxsize=4096)
def packbits(row: bytes) -> bytes:
    """Compress one row of bytes as DICOM RLE requires (PS3.5 annex G)."""
    out = bytearray()
    start = 0
    while start < len(row):
        run = 1
        while run < 128 and start + run < len(row) and row[start + run] == row[start]:
            run += 1
        if run > 1:
            out += bytes((257 - run, row[start]))
            start += run
            continue
        end = start + 1
        while end < len(row) and end - start < 128 and (end + 1 >= len(row) or row[end] != row[end + 1]):
            end += 1
        out += bytes((end - start - 1,)) + row[start:end]
        start = end
    return bytes(out)


def rle_frame(frame: np.ndarray) -> bytes:
    """Return one 16-bit frame as an RLE frame of two segments."""
    words = np.ascontiguousarray(frame).astype("<u2").view(np.uint8)
    planes = words.reshape(*frame.shape, 2)
    segments = []
    for byte_index in (1, 0):
        plane = np.ascontiguousarray(planes[..., byte_index])
        segment = b"".join(packbits(row.tobytes()) for row in plane)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64, 64 + len(segments[0])] + [0] * 13
    return struct.pack("<16I", 2, *offsets) + b"".join(segments)


def nifti_bytes(
    data: np.ndarray,
    sform: np.ndarray | None,
    qform: np.ndarray | None,
    units: int = 2,
    slope: float = 1.0,
    intercept: float = 0.0,
    pixdim: Sequence[float] | None = None,
    dim: Sequence[int] | None = None,
) -> bytes:
    """Return a single-file NIfTI-1 image.

    Args:
        data: int16 array indexed (i, j, k) or (i, j, k, t).
        sform: Affine to RAS, or None for sform code 0.
        qform: Orthogonal affine to RAS, or None for qform code 0.
        units: xyzt_units; 1 is metres, 2 millimetres, 3 micrometres.
        slope: scl_slope.
        intercept: scl_inter.
        pixdim: Voxel sizes to write, if not those of the affines.
        dim: The dim field to write, if not that of the data.
    """
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    dim = list(dim) if dim is not None else [data.ndim, *data.shape]
    struct.pack_into("<8h", header, 40, *(dim + [1] * (8 - len(dim))))
    struct.pack_into("<2h", header, 70, 4, 16)  # int16, 16 bits
    reference = qform if qform is not None else sform
    sizes = [1.0, 1.0, 1.0]
    if reference is not None:
        sizes = [float(v) for v in np.linalg.norm(reference[:3, :3], axis=0)]
    quaternion, sign = (0.0, 0.0, 0.0), 1.0
    if qform is not None:
        quaternion, sign = quaternion_of(qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0))
    sizes = list(pixdim) if pixdim is not None else sizes
    struct.pack_into("<8f", header, 76, sign, *sizes, 1.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, slope, intercept)
    header[123] = units | 8  # seconds
    struct.pack_into("<2h", header, 252, int(qform is not None), int(sform is not None))
    offset = qform[:3, 3] if qform is not None else (0.0, 0.0, 0.0)
    struct.pack_into("<6f", header, 256, *quaternion, *offset)
    if sform is not None:
        struct.pack_into("<12f", header, 280, *np.asarray(sform, dtype=float)[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + data.astype("<i2").tobytes(order="F")


def quaternion_of(rotation: np.ndarray) -> tuple[tuple[float, float, float], float]:
    """Return the NIfTI quaternion (b, c, d) and qfac of an orthogonal matrix."""
    matrix = np.array(rotation, dtype=float)
    sign = 1.0
    if np.linalg.det(matrix) < 0:
        sign = -1.0
        matrix[:, 2] *= -1
    # The eigenvector of this symmetric matrix with the largest eigenvalue is the
    # quaternion (b, c, d, a); it needs no case distinction at half turns.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    symmetric = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(symmetric)[1][:, -1]
    flip = -1.0 if a < 0 else 1.0
    return (float(flip * b), float(flip * c), float(flip * d)), sign


def nrrd_bytes(data: np.ndarray, space: str | None, affine: np.ndarray) -> bytes:
    """Return an attached NRRD of int16 data indexed (i, j, k)."""
    columns = [",".join(f"{v:.9g}" for v in affine[:3, axis]) for axis in range(3)]
    origin = ",".join(f"{v:.9g}" for v in affine[:3, 3])
    lines = ["NRRD0004", "type: int16", "dimension: 3"]
    if space:
        lines += [f"space: {space}"]
    lines += ["sizes: " + " ".join(map(str, data.shape))]
    if space:
        lines += [
            "space directions: " + " ".join(f"({column})" for column in columns),
            f"space origin: ({origin})",
        ]
    else:
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        lines += ["spacings: " + " ".join(f"{v:.9g}" for v in sizes)]
    lines += ["endian: little", "encoding: raw"]
    return ("\n".join(lines) + "\n\n").encode() + data.astype("<i2").tobytes(order="F")


def mha_bytes(data: np.ndarray, affine: np.ndarray) -> bytes:
    """Return a MetaImage of int16 data indexed (i, j, k); the affine is to LPS."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    directions = (affine[:3, :3] / sizes).T.ravel()  # one axis after the other
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "TransformMatrix = " + " ".join(f"{v:.9g}" for v in directions),
        "Offset = " + " ".join(f"{v:.9g}" for v in affine[:3, 3]),
        "ElementSpacing = " + " ".join(f"{v:.9g}" for v in sizes),
        "DimSize = " + " ".join(map(str, data.shape)),
        "ElementType = MET_SHORT",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode() + data.astype("<i2").tobytes(order="F")


def write_zip(path: Path, entries: Sequence[tuple[str, bytes]], compress: bool = True) -> None:
    """Write a ZIP file with fixed dates; entry names are stored as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, content)


def gzip_bytes(content: bytes) -> bytes:
    """Return a gzip stream without a time stamp."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()
