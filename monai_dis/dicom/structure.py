"""The skeleton of a DICOM file: every element's length is followed to its end before any library parses the file.

Nothing is read but tags and lengths, without recursion, so that a file which claims more than it holds, or nests sequences
without end, is refused in bounded time and memory (PS3.5 section 7).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from monai_dis.checks.limits import Limits

__all__ = ["SERIES", "SHORT_FORMS", "SOP_CLASS", "Encoding", "PixelElement", "StructureError", "scan_structure"]

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXELS = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
#: Value representations whose length has two bytes.
SHORT_FORMS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM",
     b"UI", b"UL", b"US")
)  # fmt: skip
#: Elements that say what a damaged file is part of: SOP Class UID and Series Instance UID.
SOP_CLASS, SERIES = 0x00080016, 0x0020000E
_LONGEST_UID = 64


class StructureError(Exception):
    """A file whose structure is broken.

    Attributes:
        code: ``FILE_TRUNCATED``, ``FILE_CORRUPT`` or ``LIMIT_EXCEEDED``.
        message: a sentence about it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Encoding:
    """How the data set of a file is encoded.

    Attributes:
        implicit: value representations are not written.
        little: little endian.
    """

    implicit: bool
    little: bool = True


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels lie.

    Attributes:
        offset: of the value's first byte.
        length: of the value in bytes; with encapsulated pixels, of all fragments.
        fragments: number of fragments behind the offset table; None where pixels are not encapsulated.
        end: offset behind the element.
    """

    offset: int
    length: int
    fragments: int | None
    end: int


@dataclass
class _Level:
    """One data set or sequence that is being walked through; ``end`` is None until its delimiter is met."""

    end: int | None
    sequence: bool
    implicit: bool


def scan_structure(
    file: BinaryIO, start: int, size: int, encoding: Encoding, limits: Limits, noted: dict[int, str] | None = None
) -> PixelElement | None:
    """Follow the elements of a data set from ``start`` to the end of the file.

    Args:
        file: open for reading; its position is changed.
        start: offset of the data set's first element.
        size: bytes of the file.
        encoding: of the data set.
        limits: on depth and number of elements.
        noted: is given the UIDs `SOP_CLASS` and `SERIES` as they are met, which also a file that breaks off behind them has.

    Returns:
        where the pixels lie; None when there are none.

    Raises:
        StructureError: when a length passes the end, a delimiter is missing, or a limit is exceeded.
    """
    walk = _Walk(file, size, encoding, limits, {} if noted is None else noted)
    return walk.run(start)


class _Walk:
    def __init__(self, file: BinaryIO, size: int, encoding: Encoding, limits: Limits, noted: dict[int, str]) -> None:
        self.noted = noted
        self.file = file
        self.size = size
        self.order = "<" if encoding.little else ">"
        self.implicit = encoding.implicit
        self.limits = limits
        self.levels: list[_Level] = []
        self.position = 0
        self.seen: set[tuple[int, int]] = set()

    def run(self, start: int) -> PixelElement | None:
        pixels: PixelElement | None = None
        self.position = start
        self.levels = [_Level(self.size, False, self.implicit)]
        count = 0
        while True:
            self._close_finished()
            if not self.levels:
                return pixels
            count += 1
            if count > self.limits.elements:
                raise StructureError("LIMIT_EXCEEDED", f"a file holds more than {self.limits.elements} data elements.")
            if self.levels[-1].sequence:
                self._item()
                continue
            tag, representation, length = self._header()
            if tag in _PIXELS and len(self.levels) == 1:
                pixels = self._pixels(tag, length)
                continue
            self._element(tag, representation, length)

    def _close_finished(self) -> None:
        while self.levels and self.levels[-1].end is not None and self.position >= self.levels[-1].end:
            if self.position > self.levels[-1].end:
                raise StructureError("FILE_CORRUPT", "an element reaches beyond the sequence item that holds it.")
            self.levels.pop()

    def _read(self, count: int) -> bytes:
        self.file.seek(self.position)
        data = self.file.read(count)
        if len(data) < count:
            raise StructureError("FILE_TRUNCATED", "a file ends in the middle of a data element.")
        self.position += count
        return data

    def _header(self) -> tuple[tuple[int, int], bytes, int]:
        """Tag, value representation (empty when implicit) and length of the next element."""
        group, number = struct.unpack(f"{self.order}HH", self._read(4))
        tag = (group, number)
        if group == 0xFFFE:
            if tag in (_ITEM_END, _SEQUENCE_END):
                return tag, b"", struct.unpack(f"{self.order}I", self._read(4))[0]
            raise StructureError("FILE_CORRUPT", "a sequence item stands outside a sequence.")
        if len(self.levels) == 1:
            # Out of order they are read, by every toolkit alike; which of two counts is another question.
            if tag in self.seen:
                raise StructureError("FILE_CORRUPT", "a header holds an element twice; get a new copy of the file.")
            self.seen.add(tag)
        if self.levels[-1].implicit:
            return tag, b"", struct.unpack(f"{self.order}I", self._read(4))[0]
        representation = self._read(2)
        if representation in _LONG:
            return tag, representation, struct.unpack(f"{self.order}2xI", self._read(6))[0]
        if representation in SHORT_FORMS:
            return tag, representation, struct.unpack(f"{self.order}H", self._read(2))[0]
        raise StructureError("FILE_CORRUPT", f"the header holds an unknown value representation in group {group:04X}.")

    def _element(self, tag: tuple[int, int], representation: bytes, length: int) -> None:
        if tag == _ITEM_END:
            if len(self.levels) < 2 or self.levels[-1].end is not None:
                raise StructureError("FILE_CORRUPT", "the end of a sequence item stands where there is none.")
            self.levels.pop()
        elif tag == _SEQUENCE_END:
            raise StructureError("FILE_CORRUPT", "the end of a sequence stands inside an item.")
        elif length == _UNDEFINED:
            # Undefined length outside the pixels means a sequence; one of unknown representation is implicit (PS3.5 6.2.2).
            self._open(None, True, self.levels[-1].implicit or representation == b"UN")
        elif representation == b"SQ" or (not representation and _is_sequence(tag)):
            self._check_length(length, "a sequence")
            self._open(self.position + length, True, self.levels[-1].implicit)
        else:
            self._check_length(length, "a data element")
            if len(self.levels) == 1 and length <= _LONGEST_UID and (tag[0] << 16 | tag[1]) in (SOP_CLASS, SERIES):
                self.noted[tag[0] << 16 | tag[1]] = self._read(length).decode("ascii", "replace").strip("\0 ")
            else:
                self.position += length

    def _item(self) -> None:
        group, number, length = struct.unpack(f"{self.order}HHI", self._read(8))
        level = self.levels[-1]
        if (group, number) == _SEQUENCE_END and level.end is None:
            self.levels.pop()
        elif (group, number) == _ITEM:
            if length != _UNDEFINED:
                self._check_length(length, "a sequence item")
            self._open(None if length == _UNDEFINED else self.position + length, False, level.implicit)
        else:
            raise StructureError("FILE_CORRUPT", "a sequence holds something that is not an item.")

    def _open(self, end: int | None, sequence: bool, implicit: bool) -> None:
        # A sequence and its item are two levels of the walk and one of nesting.
        if len(self.levels) >= 2 * self.limits.depth:
            raise StructureError("LIMIT_EXCEEDED", f"sequences are nested more than {self.limits.depth} deep.")
        self.levels.append(_Level(end, sequence, implicit))

    def _check_length(self, length: int, what: str) -> None:
        if self.position + length > self.size:
            raise StructureError(
                "FILE_TRUNCATED",
                f"{what} claims {length} bytes, the file has {self.size - self.position} left; get a new copy of the file.",
            )

    def _pixels(self, tag: tuple[int, int], length: int) -> PixelElement | None:
        start = self.position
        if length != _UNDEFINED:
            self._check_length(length, "the pixel data")
            self.position += length
            return PixelElement(start, length, None, self.position)
        fragments, total = -1, 0  # the first item is the offset table
        while True:
            group, number, size = struct.unpack(f"{self.order}HHI", self._read(8))
            if (group, number) == _SEQUENCE_END:
                break
            if (group, number) != _ITEM or size == _UNDEFINED:
                raise StructureError("FILE_CORRUPT", "the compressed pixel data are not a list of fragments.")
            self._check_length(size, "a fragment of the pixel data")
            self.position += size
            fragments += 1
            total += size if fragments else 0
        return PixelElement(start, total, max(0, fragments), self.position)


def _is_sequence(tag: tuple[int, int]) -> bool:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False
