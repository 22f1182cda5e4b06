"""Which series a damaged file belongs to: a slice is never lost quietly (I21).

What the header still says decides; where it says nothing, the name: a file that is called like the slices around it, but for its
number, is one of them. A damaged file that is no image harms nothing.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from monai_dis.checks.findings import Finding, Policy, finding
from monai_dis.dicom.image_checks import may_be_image
from monai_dis.dicom.instance import Damaged, Instance
from monai_dis.dicom.values import text

__all__ = ["Damage", "assign_damage"]

_NUMBER = re.compile(r"\d+")
_HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-f-]{16,}")  # names such as archives give

Named = tuple[str, str]


@dataclass(frozen=True)
class Damage:
    """What damaged files mean.

    Attributes:
        of_series: findings by Series Instance UID.
        others: findings about the input as a whole.
    """

    of_series: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    others: Sequence[Finding] = ()


def assign_damage(
    damaged: Sequence[Damaged],
    images: Sequence[Instance],
    names: Mapping[Path, str],
    policies: Mapping[str, Policy],
    *,
    chosen: bool = False,
) -> Damage:
    """Say what each damaged file means.

    Args:
        damaged: the files.
        images: all images that can be read.
        names: of files that had other names before, in an archive.
        policies: a site's changes; with ``SERIES_INCOMPLETE`` relaxed, damage to a series is a warning.
        chosen: whether the user chose a series: those of which nothing can be read do not matter then.
    """
    readable = {text(image.header, "SeriesInstanceUID") for image in images}
    neighbours = _by_name(images, names)
    of_series: dict[str, list[Finding]] = {}
    others: list[Finding] = []
    for file in damaged:
        if file.sop_class and not may_be_image(file.sop_class):
            others.append(finding("OBJECT_DAMAGED", "damaged objects that are no images are left out."))
            continue
        owners = {file.series} if file.series else _owners(file.path, neighbours, names)
        if not owners & readable:
            of_no_interest = chosen and file.series and file.finding.policy is Policy.REJECT
            others.append(replace(file.finding, policy=Policy.WARN) if of_no_interest else file.finding)
            continue
        for uid in owners & readable:
            own = of_series.setdefault(uid, [])
            if file.finding.policy is Policy.REJECT:
                own.append(replace(file.finding, policy=policies.get("SERIES_INCOMPLETE", Policy.REJECT)))
            message = "damaged files belong to the series, by their header or name, and cannot be used; get new copies of them."
            own.append(finding("SERIES_INCOMPLETE", message))
    return Damage(of_series, others)


def _key(path: Path, names: Mapping[Path, str]) -> tuple[Named, list[tuple[int, str]]]:
    """What a file shares with its neighbours, folder and name without numbers, and its place among them."""
    whole = PurePath(names.get(path, str(path)))
    name = whole.name.lower()
    if _HEXADECIMAL.fullmatch(whole.stem.lower()):
        return (str(whole.parent), f"#{whole.suffix.lower()}"), [(0, name)]
    order = [(int(part), part) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
    return (str(whole.parent), _NUMBER.sub("#", name)), order


def _by_name(
    images: Sequence[Instance], names: Mapping[Path, str]
) -> dict[Named, list[tuple[list[tuple[int, str]], str]]]:
    groups: dict[Named, list[tuple[list[tuple[int, str]], str]]] = {}
    for image in images:
        shared, order = _key(image.path, names)
        groups.setdefault(shared, []).append((order, text(image.header, "SeriesInstanceUID")))
    return {shared: sorted(members) for shared, members in groups.items()}


def _owners(
    path: Path, neighbours: Mapping[Named, Sequence[tuple[list[tuple[int, str]], str]]], names: Mapping[Path, str]
) -> set[str]:
    """Series of the images before and behind a file, by number in the name."""
    shared, order = _key(path, names)
    members = neighbours.get(shared, ())
    place = bisect(members, (order, ""))
    return {uid for _, uid in members[max(0, place - 1) : place + 1]}
