"""One rule from the numbers in a label file to class indices, for training, evaluation and the label server.

1. What counts is the number a file stands for, after its own scaling (NIfTI slope and intercept). It must be whole.
2. ``label_map`` says which class a number is; then every number but 0 must be in it.
3. Otherwise the data set's :class:`LabelRule` says what numbers mean. By the usual one, ``"index"``, they are class
   indices: 0 is background. Where there is a single class to find, a file of 0 and 255, 128 or 65535 alone is a mask.
4. A JPEG does not keep numbers. It is read as a mask of 0 and 255, cut in the middle, if nearly all of it is near them.
5. A number that is no class is refused and named. Nothing is dropped, and no two numbers become one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_dis.errors import DataError

__all__ = ["LabelRule", "UnknownLabelValues", "class_indices", "cut_jpeg", "read_label_map", "suggested_map"]

#: Full and half scale of 8 bits and full scale of 16: how image editors store a mask.
MASK_VALUES = (128, 255, 65535)

_MOST_CLASSES = 256
_VEHICLES = (26, 31)  # car, truck, bus, caravan, trailer, train; 255 in a file is id -1, a licence plate
_WHOLE = 1e-3  # of float32: 255 times a slope of 1/255 is not 1 exactly
_LISTED = 8
_JPEG_MIDDLE, _JPEG_DARK, _JPEG_BRIGHT, _JPEG_BETWEEN = 128, 64, 192, 0.1
_MOST_COUNTED = 1 << 16


class LabelRule(str, Enum):
    """What the numbers of a data set's label files mean, where no ``label_map`` says so.

    Attributes:
        INDEX: they are class indices already (a palette's entries count, not its colours); see the rule of this module.
        NONZERO: everything that is not black or zero is class 1.
        MASK: a palette's entries count, not its colours, and of several channels the first (red); not zero is class 1.
        VEHICLES: label ids of KITTI and Cityscapes; 26 to 31 are class 1.
    """

    INDEX = "index"
    NONZERO = "nonzero"
    MASK = "mask"
    VEHICLES = "vehicles"


class UnknownLabelValues(DataError):
    """A label file holds numbers that are no class.

    Attributes:
        path: the file.
        values: the numbers, ascending.
        num_classes: how many classes there are, with the background; None where nobody knows.
    """

    path: Path
    values: tuple[int, ...] = ()
    num_classes: int | None = None


def read_label_map(given: Mapping[Any, Any] | None) -> dict[int, int] | None:
    """A ``label_map`` from a config, whose keys may be text; None and an empty one mean that there is none.

    Raises:
        DataError: when a number or a class is not a whole number, or a class is negative or above 255.

    Example:
        >>> read_label_map({"63": 1, 126: 2})
        {63: 1, 126: 2}
    """
    if not given:
        return None
    try:
        mapped = {int(value): int(index) for value, index in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"label_map is {given!r}; give the class of each number, such as {{63: 1, 126: 2}}.") from error
    wrong = [index for index in mapped.values() if not 0 <= index < _MOST_CLASSES]
    if wrong:
        raise DataError(f"label_map names the class {wrong[0]}; classes are counted from 0 to {_MOST_CLASSES - 1}.")
    return mapped


def class_indices(
    values: Tensor,
    path: Path,
    rule: LabelRule = LabelRule.INDEX,
    *,
    num_classes: int | None = None,
    label_map: Mapping[int, int] | None = None,
) -> Tensor:
    """Class indices of the numbers of a label file, by the rule of this module.

    Args:
        values: ``(1, *spatial)``, scaled as the file says.
        path: named in errors.
        rule: what the numbers mean.
        num_classes: number of classes with the background, which no index may reach; None when nobody knows.
        label_map: the class of each number, in place of the rule.

    Returns:
        ``(1, *spatial)`` uint8.

    Raises:
        UnknownLabelValues: when numbers are no class.
        DataError: when numbers are not whole, or the map names classes that there are not.
    """
    if label_map is None and rule in (LabelRule.NONZERO, LabelRule.MASK):
        return (values > 0).to(torch.uint8)
    whole, present = _whole(values, path)
    if label_map is None and rule is LabelRule.VEHICLES:
        return ((whole >= _VEHICLES[0]) & (whole <= _VEHICLES[1])).to(torch.uint8)
    table = _table(present, num_classes) if label_map is None else {0: 0, **_checked(label_map, num_classes)}
    unknown = [value for value in present if value not in table]
    if unknown:
        raise _unknown(path, unknown, num_classes)
    numbers = torch.tensor(present, dtype=whole.dtype)
    classes = torch.tensor([table[value] for value in present], dtype=torch.uint8)
    return classes[torch.searchsorted(numbers, whole)]


def cut_jpeg(values: Tensor, path: Path) -> Tensor:
    """A mask of 0 and 255 from a JPEG, whose compression blurred it.

    Args:
        values: ``(C, *spatial)`` grey values, of one channel or three.
        path: named in errors.

    Returns:
        ``(1, *spatial)`` of 0 and 255.

    Raises:
        DataError: when it is no mask: in colour, without white, or with much between black and white.
    """
    grey = values.mean(dim=0, keepdim=True)
    coloured = float((values - grey).abs().max()) > _JPEG_DARK
    between = float(((grey > _JPEG_DARK) & (grey < _JPEG_BRIGHT)).float().mean())
    top = float(grey.max())
    if coloured or between > _JPEG_BETWEEN or 0 < top < _JPEG_BRIGHT:
        raise DataError(
            f"{path} is a JPEG, which does not keep the numbers of a label, and it is not a mask of black and white; "
            "save the label as PNG."
        )
    return (grey >= _JPEG_MIDDLE).to(values.dtype) * 255


def suggested_map(values: Sequence[int], num_classes: int | None) -> str:
    """An example of ``--labels`` for these numbers: all of them where they are as many as the classes, else one.

    Example:
        >>> suggested_map([63, 126, 189, 252], 5), suggested_map([7], 2), suggested_map([3, 9], 2)
        ('63=1,126=2,189=3,252=4', '7=1', '3=1')
    """
    shown = values if len(values) == (num_classes or 0) - 1 else values[:1]
    return ",".join(f"{value}={index}" for index, value in enumerate(shown, start=1))


def how_to_map(values: Sequence[int], num_classes: int | None) -> str:
    """What to do about numbers that are no class, as the end of a sentence."""
    example = suggested_map(values, num_classes)
    return f"say which class each number is, such as --labels {example} (label_map in a config), or convert the labels"


def _unknown(path: Path, values: Sequence[int], num_classes: int | None) -> UnknownLabelValues:
    shown = ", ".join(map(str, values[:_LISTED])) + (" ..." if len(values) > _LISTED else "")
    error = UnknownLabelValues(
        f"{path} holds {shown}, and the classes are 0 to {(num_classes or _MOST_CLASSES) - 1}; "
        f"{how_to_map(values, num_classes)}."
    )
    error.path, error.values, error.num_classes = path, tuple(values), num_classes
    return error


def _whole(values: Tensor, path: Path) -> tuple[Tensor, list[int]]:
    """The numbers as integers, and which there are, ascending."""
    plain = values.as_tensor() if hasattr(values, "as_tensor") else values
    rounded = plain.round()
    away = (plain - rounded).abs()
    if not bool((away <= _WHOLE).all()):  # NaN is not
        broken = plain[~(away <= _WHOLE)].flatten()[0]
        raise DataError(
            f"{path} holds {float(broken):g}, and a label holds whole numbers (after the scaling of its own header); "
            "convert it, or scale it as its author meant."
        )
    whole = rounded.long()
    low, high = int(whole.min()), int(whole.max())
    if low >= 0 and high < _MOST_COUNTED:  # much faster than sorting a volume
        return whole, torch.bincount(whole.flatten()).nonzero().flatten().tolist()
    return whole, torch.unique(whole).tolist()


def _table(present: Sequence[int], num_classes: int | None) -> dict[int, int]:
    """Class by number where no map says so."""
    marks = [value for value in present if value != 0]
    if num_classes in (None, 2) and len(marks) == 1 and marks[0] in MASK_VALUES:
        return {0: 0, marks[0]: 1}
    return {index: index for index in range(num_classes or _MOST_CLASSES)}


def _checked(label_map: Mapping[int, int], num_classes: int | None) -> Mapping[int, int]:
    beyond = [(value, index) for value, index in label_map.items() if index >= (num_classes or _MOST_CLASSES)]
    if beyond:
        value, index = beyond[0]
        raise DataError(
            f"the label map makes {value} class {index}, and the classes are 0 to {(num_classes or _MOST_CLASSES) - 1}; "
            "name one of them."
        )
    return label_map
