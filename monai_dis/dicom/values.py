"""Typed values of header elements: a missing or impossible one is an exception, never a default."""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any

from monai_dis.dicom.extra import discreet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["AttributeProblem", "integer", "number", "numbers", "raw_value", "text", "texts"]


class AttributeProblem(Exception):
    """An attribute that is missing or cannot be what it is.

    Attributes:
        code: ``ATTRIBUTE_MISSING`` or ``ATTRIBUTE_INVALID``.
        keyword: of the attribute.
    """

    def __init__(self, code: str, keyword: str) -> None:
        super().__init__(f"{code} {keyword}")
        self.code = code
        self.keyword = keyword


def raw_value(data: Dataset, tag: str | int) -> Any:
    """The value of an element as pydicom reads it; None when it is absent or empty.

    Raises:
        AttributeProblem: when it cannot be read.
    """
    try:
        with discreet():
            element = data[tag] if tag in data else None  # noqa: SIM401 - `get` of a keyword gives the value
            value = None if element is None else element.value
    except Exception:
        # Whatever pydicom raises for a damaged value, its message may quote it.
        raise AttributeProblem("ATTRIBUTE_INVALID", str(tag)) from None
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def numbers(data: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Finite numbers of an element; None when it is absent or empty.

    Raises:
        AttributeProblem: when they are not numbers, not finite, or not ``count`` of them.
    """
    value = raw_value(data, keyword)
    if value is None:
        return None
    try:
        several = [value] if isinstance(value, (str, bytes, int, float)) or not hasattr(value, "__iter__") else value
        found = tuple(float(each) for each in several)
    except (TypeError, ValueError):
        raise AttributeProblem("ATTRIBUTE_INVALID", keyword) from None
    if (count is not None and len(found) != count) or not all(math.isfinite(each) for each in found):
        raise AttributeProblem("ATTRIBUTE_INVALID", keyword)
    return found


def number(data: Dataset, keyword: str) -> float | None:
    """One finite number; None when it is absent or empty.

    Raises:
        AttributeProblem: see `numbers`.
    """
    found = numbers(data, keyword, 1)
    return None if found is None else found[0]


def integer(data: Dataset, keyword: str) -> int | None:
    """One whole number; None when it is absent or empty.

    Raises:
        AttributeProblem: when it is none.
    """
    found = number(data, keyword)
    if found is not None and not found.is_integer():
        raise AttributeProblem("ATTRIBUTE_INVALID", keyword)
    return None if found is None else int(found)


def text(data: Dataset, keyword: str) -> str:
    """Text of an element without padding; empty when it is absent or cannot be read."""
    return "\\".join(texts(data, keyword))


def texts(data: Dataset, keyword: str | int) -> tuple[str, ...]:
    """Texts of an element of several values; empty when it is absent or cannot be read."""
    try:
        value = raw_value(data, keyword)
    except AttributeProblem:
        return ()
    if value is None:
        return ()
    if not isinstance(value, MutableSequence):  # a name of a person iterates over its letters
        value = [value]
    try:
        return tuple(str(each).strip("\0 ") for each in value)
    except Exception:
        return ()
