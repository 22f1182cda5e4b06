"""A label that a reader submits, checked when it comes: readable, on its image, of known classes, and not empty by mistake.

It is read by the one reader of labels (`monai_dis.data.labels`), so that training takes what was accepted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor

from monai_dis.checks.limits import Limits
from monai_dis.checks.volume_files import inspect_volume_file
from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.data.label_geometry import GeometryPolicy
from monai_dis.data.label_values import MASK_VALUES
from monai_dis.data.labels import read_label
from monai_dis.errors import ImageError
from monai_dis.label.numbering import Numbering
from monai_dis.label.request import RequestError

__all__ = ["Submitted", "check_submitted"]

_MOST_CLASSES = 256
_RAW_TYPES = {1: np.uint8, 2: np.uint16, 4: np.uint32}


@dataclass(frozen=True)
class Submitted:
    """A label that is good.

    Attributes:
        labels: (columns, rows[, slices]) class indices of the bundle, on the voxels of the image.
        bundle: whose classes they are.
        classes: names of the classes that are marked.
    """

    labels: npt.NDArray[np.uint8] = field(repr=False)
    bundle: str
    classes: tuple[str, ...]


def check_submitted(
    file: Path,
    image: MetaTensor,
    said: Mapping[str, Any],
    bundles: Mapping[str, Mapping[int, str]],
    geometry: GeometryPolicy | str = GeometryPolicy.REJECT,
    shown: Numbering | None = None,
    limits: Limits | None = None,
) -> Submitted:
    """Check a label.

    Args:
        file: as it was sent; ``.bin`` holds the voxels alone, as OHIF has them.
        image: (C, *spatial) as read.
        said: of it by the client: ``label_info`` names its numbers, ``model`` whose classes it has,
            ``empty`` that there is nothing to mark.
        bundles: names of classes by index, by the name of the bundle.
        geometry: what is done about a label that lies elsewhere than its image.
        shown: the numbers that a ``.bin`` has where the client does not say what they are.
        limits: sizes beyond which a label is refused.

    Raises:
        DisError: when it cannot be read or lies elsewhere.
        RequestError: when it holds what is no class of any bundle, or nothing.
    """
    raw = file.suffix == ".bin"
    if raw:
        numbers = _raw(file, image)
    else:
        _check_size(file, limits or Limits())
        read = read_label(file, num_classes=_MOST_CLASSES, like=image, geometry=geometry)
        numbers = read.as_tensor()[0].numpy()
    present = [int(number) for number in np.unique(numbers) if number]
    if not present and not (said.get("empty") or (said.get("label_info") == [] and not raw)):
        raise RequestError(
            "the label is empty; mark something, or send `empty: true` with it where there is nothing to mark in the image."
        )
    names = _names(said, present)
    if raw and not names and shown is not None:
        names = dict(enumerate(shown.names, start=1))
    asked = _bundle_of(str(said.get("model") or ""), bundles)
    candidates = {asked: bundles[asked]} if asked else bundles
    unknown: dict[str, list[int]] = {}
    for bundle, classes in candidates.items():
        table = _table(present, names, classes)
        unknown[bundle] = [number for number in present if number not in table]
        if not unknown[bundle]:
            lookup = np.zeros(_MOST_CLASSES, np.uint8)
            lookup[list(table)] = list(table.values())
            marked = tuple(classes[index] for index in sorted({table[number] for number in present}))
            return Submitted(lookup[numbers], bundle, marked)
    bundle = min(unknown, key=lambda each: len(unknown[each]))
    wrong = ", ".join(f"{n} ({names[n]})" if n in names else str(n) for n in unknown[bundle][:5])
    known = ", ".join(f"{number} {name}" for number, name in candidates[bundle].items())
    raise RequestError(
        f"the label holds {wrong}, which is no class of {bundle}; its classes are {known}. Remove the segment or give it one of "
        "these names, and submit again."
    )


def _check_size(file: Path, limits: Limits) -> None:
    """Refuse what claims more than it may, before it is unpacked; where it lies is the reader's question."""
    found = inspect_volume_file(file, limits)[1] if image_suffix(file) in VOLUME_SUFFIXES else []
    for each in found:
        if each.code == "LIMIT_EXCEEDED":
            raise ImageError(f"{file} is rejected: {each.code}: {each.message}")


def _raw(file: Path, image: MetaTensor) -> npt.NDArray[Any]:
    """(columns, rows[, slices]) of the image's own voxels, without a header."""
    size = tuple(int(n) for n in image.shape[1:])
    voxels, length = int(np.prod(size)), file.stat().st_size
    kind = _RAW_TYPES.get(length // voxels if voxels else 0)
    if kind is None or length % voxels:
        raise RequestError(
            f"the label has {length} bytes, which is no whole number of bytes for each of the {' x '.join(map(str, size))} voxels "
            "of its image; submit it from the image that it was made on."
        )
    values = np.fromfile(file, np.dtype(kind).newbyteorder("<")).reshape(size, order="F")
    if values.max(initial=0) >= _MOST_CLASSES:
        raise RequestError(
            f"the label holds {int(values.max())}, and classes are counted from 0 to {_MOST_CLASSES - 1}."
        )
    return values.astype(np.uint8)


def _names(said: Mapping[str, Any], present: list[int]) -> dict[int, str]:
    """Names by number, as the viewer says.

    3D Slicer counts the segments that it leaves out, background first, in what it says and not in the file: where its list begins
    above 1 and the file's numbers are within its length, they are counted from 1.
    """
    listed = [each for each in said.get("label_info") or () if "idx" in each and "name" in each]
    names = {int(each["idx"]): str(each["name"]) for each in listed}
    first = min(names, default=1)
    shifted = first > 1 and sorted(names) == list(range(first, first + len(names)))
    if shifted and max(present, default=0) <= len(names):
        return {number - first + 1: name for number, name in names.items()}
    return names


def _bundle_of(model: str, bundles: Mapping[str, Any]) -> str:
    """The bundle of a model's name, which may say besides what the model does; empty where there is none."""
    fitting = [name for name in bundles if model == name or model.startswith(f"{name}_")]
    return max(fitting, key=len, default="")


def _table(present: list[int], names: Mapping[int, str], classes: Mapping[int, str]) -> dict[int, int]:
    """Class by number: by its name where the viewer says one, else the number itself."""
    if names:
        numbers = {name.lower(): index for index, name in classes.items()}
        return {number: numbers[name.lower()] for number, name in names.items() if name.lower() in numbers}
    if len(classes) == 1 and len(present) == 1 and present[0] in MASK_VALUES:
        return {present[0]: next(iter(classes))}
    return {index: index for index in classes}
