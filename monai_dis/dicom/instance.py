"""One DICOM file as the checks see it: its header without pixels, where its pixels lie, and what is wrong with the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from monai_dis.checks.findings import Finding, finding
from monai_dis.checks.limits import Limits
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.header_tags import HEADER_TAGS
from monai_dis.dicom.structure import (
    SERIES,
    SHORT_FORMS,
    SOP_CLASS,
    Encoding,
    PixelElement,
    StructureError,
    scan_structure,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["DIRECTORY_CLASS", "Damaged", "Instance", "is_dicom_file", "open_data_set", "read_file", "read_instance"]

_MAGIC_OFFSET = 128
_TIFF = (b"II*\0", b"MM\0*")
_IMPLICIT, _DEFLATED, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_PREFIX = b"DICM"
#: SOP class of a DICOMDIR.
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_LONGEST_META_VALUE = 1 << 16
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Instance:
    """The header of one file.

    Attributes:
        path: where it lies.
        syntax: transfer syntax UID.
        start: offset of the data set, in the inflated bytes where it is deflated.
        header: the elements that the checks use (`HEADER_TAGS`).
        pixels: where the pixels lie; None when the file holds none.
        sop_class: SOP Class UID of the data set, or of the file meta information where the data set lacks it.
        uid: SOP Instance UID, likewise.
    """

    path: Path
    syntax: str
    start: int
    header: Dataset = field(repr=False, compare=False)
    pixels: PixelElement | None
    sop_class: str
    uid: str

    @property
    def encoding(self) -> Encoding:
        """How the data set is encoded."""
        return _encoding(self.syntax)

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated as a whole, so that offsets are those of the inflated bytes."""
        return self.syntax == _DEFLATED


@dataclass(frozen=True)
class Damaged:
    """A file that cannot be used, and what its header still says.

    Attributes:
        path: where it lies.
        finding: what is wrong with it.
        sop_class: SOP Class UID; empty where it is not known.
        series: Series Instance UID, likewise.
    """

    path: Path
    finding: Finding
    sop_class: str = ""
    series: str = ""


@dataclass(frozen=True)
class _Meta:
    """What the file meta information says; ``start`` is the offset behind it."""

    syntax: str
    sop_class: str
    uid: str
    start: int


def is_dicom_file(path: Path) -> bool:
    """Whether a file has the DICOM prefix, or may be a bare data set; nothing else of it is read."""
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_OFFSET + 4)
        return head[_MAGIC_OFFSET:] == _PREFIX or _is_bare(head, path.stat().st_size)
    except OSError:
        return False


def read_instance(path: Path, limits: Limits) -> tuple[Instance | None, list[Finding]]:
    """Read the header of one file, with every length in it checked first.

    Args:
        path: any file.
        limits: on its sizes.

    Returns:
        the instance, None when there is none that can be used; and what is wrong with the file.
    """
    read, findings = read_file(path, limits)
    return (None, [*findings, read.finding]) if isinstance(read, Damaged) else (read, findings)


def read_file(path: Path, limits: Limits) -> tuple[Instance | Damaged, list[Finding]]:
    """Read the header of one file as `read_instance` does, or what can be read of it."""
    noted: dict[int, str] = {}
    try:
        size = path.stat().st_size
        if size > limits.file_bytes:
            raise StructureError(
                "LIMIT_EXCEEDED", f"a file has {size} bytes, more than the limit of {limits.file_bytes}."
            )
        with path.open("rb") as file:
            return _read(path, file, size, limits, noted)
    except StructureError as error:
        found = finding(error.code, error.message)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        found = finding("FILE_CORRUPT", f"a file cannot be read ({reason}); check the storage.")
    return Damaged(path, found, noted.get(SOP_CLASS, ""), noted.get(SERIES, "")), []


def open_data_set(instance: Instance, limits: Limits, *, pixels: bool = True) -> Dataset:
    """Read the whole data set of a file, as `read_instance` found it.

    Args:
        instance: the file.
        limits: on its sizes.
        pixels: False to stop before the pixels.

    Returns:
        a data set with file meta information, ready for ``pixel_array``.

    Raises:
        StructureError: when the file cannot be read as before.
    """
    dataset_module = require("pydicom.dataset")
    try:
        with instance.path.open("rb") as raw:
            file, _ = _inflated(raw, instance, instance.path.stat().st_size, limits)
            whole = _parse(file, instance, lambda tag, vr, length: not pixels and int(tag) in _PIXEL_TAGS, None)
    except OSError:
        raise StructureError("FILE_CORRUPT", "a file cannot be read any more; it changed while it was used.") from None
    with discreet():
        meta = dataset_module.FileMetaDataset()
        meta.TransferSyntaxUID = instance.syntax
        opened = dataset_module.FileDataset(
            str(instance.path),
            whole,
            file_meta=meta,
            is_implicit_VR=instance.encoding.implicit,
            is_little_endian=instance.encoding.little,
        )
    result: Dataset = opened
    return result


def _read(
    path: Path, file: BinaryIO, size: int, limits: Limits, noted: dict[int, str]
) -> tuple[Instance | Damaged, list[Finding]]:
    findings: list[Finding] = []
    head = file.read(_MAGIC_OFFSET + 4)
    if head[_MAGIC_OFFSET:] == _PREFIX:
        if any(head[:_MAGIC_OFFSET]) and head[:4] not in _TIFF:
            findings.append(
                finding("PREAMBLE_SUSPICIOUS", "the 128 bytes before the DICOM prefix are neither zero nor TIFF.")
            )
        meta = _read_meta(file, size, _MAGIC_OFFSET + 4)
    elif _is_bare(head, size):
        meta, how = _bare_meta(file, head, size)
        findings.append(finding("FILE_NO_HEADER", f"a bare data set is read as {how}."))
    else:
        return Damaged(path, finding("FILE_NOT_DICOM", "files that are not DICOM are skipped.")), []

    noted[SOP_CLASS] = meta.sop_class
    probe = Instance(path, meta.syntax, meta.start, _empty(), None, meta.sop_class, meta.uid)
    data, data_size = _inflated(file, probe, size, limits)
    start = 0 if data is not file else meta.start
    pixels = scan_structure(data, start, data_size, probe.encoding, limits, noted)
    header = _parse(data, probe, lambda tag, vr, length: int(tag) in _PIXEL_TAGS, HEADER_TAGS)
    sop_class = _uid_of(header, "SOPClassUID") or meta.sop_class
    uid = _uid_of(header, "SOPInstanceUID") or meta.uid
    return Instance(path, meta.syntax, meta.start, header, pixels, sop_class, uid), findings


def _read_meta(file: BinaryIO, size: int, position: int) -> _Meta:
    """Read the file meta information, which is explicit VR little endian (PS3.10 section 7.1)."""
    values: dict[int, str] = {}
    while True:
        file.seek(position)
        head = file.read(12)
        if len(head) < 8 or struct.unpack_from("<H", head)[0] != 2:
            break
        long_form = head[4:6] in (b"OB", b"UN", b"UT", b"OW", b"SQ")
        if long_form and len(head) < 12:
            raise StructureError("FILE_TRUNCATED", "a file ends in its file meta information.")
        length = struct.unpack_from("<I", head, 8)[0] if long_form else struct.unpack_from("<H", head, 6)[0]
        position += 12 if long_form else 8
        if length > _LONGEST_META_VALUE or position + length > size:
            raise StructureError("FILE_TRUNCATED", "a value of the file meta information reaches beyond the file.")
        file.seek(position)
        values[struct.unpack_from("<H", head, 2)[0]] = file.read(length).decode("ascii", "replace").strip("\0 ")
        position += length
    syntax = values.get(0x0010, "")
    if not syntax:
        raise StructureError("FILE_CORRUPT", "TransferSyntaxUID is missing in the file meta information.")
    return _Meta(syntax, values.get(0x0002, ""), values.get(0x0003, ""), position)


def _is_bare(head: bytes, size: int) -> bool:
    """Whether bytes may begin a data set without a preamble: file meta information, or an element of group 8 of a plausible length."""
    if head[:4] == _PREFIX or _looks_explicit(head, size, 2):
        return True
    return _looks_explicit(head, size, 8) or _looks_implicit(head, size)


def _bare_meta(file: BinaryIO, head: bytes, size: int) -> tuple[_Meta, str]:
    """What a file without a preamble says, or would say, about its data set; and that in words."""
    start = len(_PREFIX) if head[: len(_PREFIX)] == _PREFIX else 0
    if start or _looks_explicit(head, size, 2):
        return _read_meta(file, size, start), "its file meta information says, without the preamble"
    if _looks_explicit(head, size, 8):
        return _Meta(_EXPLICIT, "", "", 0), "explicit VR little endian"
    return _Meta(_IMPLICIT, "", "", 0), "implicit VR little endian"


def _looks_explicit(head: bytes, size: int, group: int) -> bool:
    """Whether bytes begin an element of a group with a value representation and a small length."""
    if len(head) < 8:
        return False
    found, representation, length = struct.unpack_from("<H2x2sH", head)
    return found == group and representation in SHORT_FORMS and length <= min(size - 8, 1024)


def _looks_implicit(head: bytes, size: int) -> bool:
    """Whether bytes may begin a bare data set: an element of group 8 with a small, even length."""
    if len(head) < 8:
        return False
    group, number, length = struct.unpack_from("<HHI", head)
    plausible: bool = group == 8 and number <= 0x0070 and length % 2 == 0 and length <= min(size - 8, 1024)
    return plausible


def _encoding(syntax: str) -> Encoding:
    return Encoding(implicit=syntax == _IMPLICIT, little=syntax != _BIG)


def _inflated(file: BinaryIO, instance: Instance, size: int, limits: Limits) -> tuple[BinaryIO, int]:
    """The file itself, or the data set of a deflated one in memory; positioned at the data set."""
    file.seek(instance.start)
    if instance.syntax != _DEFLATED:
        return file, size
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    total = 0
    pending = b""
    while not inflater.eof:
        chunk = pending or file.read(_CHUNK)
        if not chunk:
            raise StructureError("FILE_TRUNCATED", "a deflated file ends before its data do; get a new copy of it.")
        try:
            part = inflater.decompress(chunk, _CHUNK)
        except zlib.error:
            raise StructureError("FILE_CORRUPT", "a deflated file cannot be inflated; get a new copy of it.") from None
        pending = inflater.unconsumed_tail
        total += len(part)
        if not limits.may_expand(total, size):
            raise StructureError(
                "LIMIT_EXCEEDED", f"a deflated file of {size} bytes expands to more than {total - len(part)} bytes."
            )
        parts.append(part)
    return BytesIO(b"".join(parts)), total


def _parse(
    file: BinaryIO, instance: Instance, stop_when: Callable[[Any, str | None, int], bool], tags: list[int] | None
) -> Dataset:
    """Parse a data set whose structure has been checked; pydicom's errors and warnings may quote values."""
    reader = require("pydicom.filereader")
    file.seek(0 if instance.syntax == _DEFLATED else instance.start)
    encoding = instance.encoding
    try:
        with discreet():
            parsed: Dataset = reader.read_dataset(
                file, encoding.implicit, encoding.little, stop_when=stop_when, specific_tags=tags
            )
    except RecursionError:
        raise StructureError("LIMIT_EXCEEDED", "sequences are nested too deep.") from None
    except Exception as error:
        reason = type(error).__name__
        raise StructureError("FILE_CORRUPT", f"a file's header cannot be read ({reason}); get a new copy.") from None
    return parsed


def _uid_of(header: Dataset, keyword: str) -> str:
    try:
        with discreet():
            return str(header.get(keyword) or "").strip("\0 ")
    except Exception:
        return ""


def _empty() -> Dataset:
    empty: Dataset = require("pydicom.dataset").Dataset()
    return empty
