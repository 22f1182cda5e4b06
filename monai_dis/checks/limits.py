"""Bounds on what an input may claim, checked before anything of that size is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from monai_dis.errors import DicomError

__all__ = ["Limits"]

_MEBIBYTE = 1 << 20
_GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Sizes beyond which an input is rejected with ``LIMIT_EXCEEDED``.

    Attributes:
        file_bytes: of one file on disk.
        expanded_bytes: of one deflated or gzipped file, or of all of an archive, when expanded.
        volume_bytes: of one volume in its stored type.
        frames: of one file.
        files: of one input.
        depth: of sequences inside each other; folders inside each other likewise.
        elements: data elements of one file, those inside sequences too.
        expansion: expanded bytes for each stored byte; counts from `small_bytes` on.
        small_bytes: what may be expanded at any ratio.
        large_bytes: decoded size from which ``SERIES_LARGE`` is reported.
    """

    file_bytes: int = 4 * _GIBIBYTE
    expanded_bytes: int = 8 * _GIBIBYTE
    volume_bytes: int = 8 * _GIBIBYTE
    frames: int = 100_000
    files: int = 100_000
    depth: int = 32
    elements: int = 5_000_000
    expansion: int = 200
    small_bytes: int = 16 * _MEBIBYTE
    large_bytes: int = 250_000_000

    def may_expand(self, expanded: int, stored: int) -> bool:
        """Whether so many bytes may come out of so many stored ones."""
        if expanded > self.expanded_bytes:
            return False
        return expanded <= self.small_bytes or expanded <= self.expansion * max(1, stored)

    @classmethod
    def of_words(cls, changes: Mapping[str, str | int]) -> Limits:
        """The limits with some of them replaced, as a command line names them.

        Raises:
            DicomError: when there is no such limit, or it is no whole number above 0.
        """
        try:
            numbers = {name: int(value) for name, value in changes.items()}
        except ValueError:
            raise DicomError("a limit must be a whole number, such as --limit frames=5000.") from None
        return cls().changed(numbers)

    def changed(self, changes: Mapping[str, int]) -> Limits:
        """Limits with some of them replaced.

        Raises:
            DicomError: when there is no such limit or it is not positive.
        """
        known = {each.name for each in fields(self)}
        for name, value in changes.items():
            if name not in known or value <= 0:
                raise DicomError(
                    f"the limit {name}={value} cannot be set; give a number above 0 for one of {', '.join(sorted(known))}."
                )
        return replace(self, **changes)
