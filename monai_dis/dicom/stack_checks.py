"""Checks of how planes lie to each other: stacks, repeated positions, gaps, tilt, direction (I1 to I10)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from monai_dis.checks.findings import Finding, Policy, finding
from monai_dis.data.coordinates import angle_degrees
from monai_dis.dicom.frames import Frame
from monai_dis.dicom.geometry import (
    ANGLE_TOLERANCE_DEGREES,
    Stack,
    alike,
    normal_of,
    places_of,
    positions_along,
    size_of,
    stack_of,
    step_tolerance_mm,
)
from monai_dis.dicom.selection import matches
from monai_dis.dicom.values import number

__all__ = ["check_stack", "one_stack", "one_volume", "selected"]

_SAME_PLACE_MM = 1e-3
_TRUNCATED = 8  # volumes named in a message


def one_stack(frames: Sequence[Frame]) -> tuple[list[Frame], list[Finding]]:
    """Leave out scouts beside a stack, and see that all other planes are parallel and of one size.

    Returns:
        the planes of the stack; none when there are several stacks; and findings.
    """
    images = [frame for frame in frames if not frame.localizer] or list(frames)
    findings = []
    if len(images) < len(frames):
        skipped = len(frames) - len(images)
        findings.append(finding("ORIENTATION_MIXED", "localizer images are left out.", skipped, Policy.FIX))
    groups: dict[tuple[Any, ...], int] = {}
    first = images[0]
    for frame in images:
        if not alike(frame, first):
            key: tuple[Any, ...] = (
                tuple(np.round(normal_of(frame), 3)),
                tuple(np.round(frame.spacing, 3)),
                size_of(frame),
            )
        else:
            key = ()
        groups[key] = groups.get(key, 0) + 1
    if len(groups) > 1:
        sizes = ", ".join(str(count) for count in sorted(groups.values(), reverse=True)[:_TRUNCATED])
        message = f"the planes form {len(groups)} stacks of different orientation, size or spacing ({sizes} planes); separate them."
        findings.append(finding("ORIENTATION_MIXED", message, len(images)))
        return [], findings
    return images, findings


def selected(frames: Sequence[Frame], selection: Mapping[str, str]) -> list[Frame]:
    """Planes whose attributes have the given values; see `monai_dis.dicom.selection.matches`."""

    def chosen(frame: Frame) -> bool:
        known = {**frame.times, **frame.marks}
        return all(keyword in known and matches(known[keyword], wanted) for keyword, wanted in selection.items())

    return [frame for frame in frames if chosen(frame)]


def one_volume(frames: Sequence[Frame]) -> tuple[list[Frame], list[Finding]]:
    """Leave one plane at each position, or say why that cannot be.

    Returns:
        the planes of the volume; none when there are several volumes or a conflict; and findings.
    """
    if (stacks := _distinct("StackID", frames)) > 1:
        return [], [_several(_counted("StackID", frames), f"{stacks} values of StackID", len(frames))]
    once = {(frame.instance.uid, frame.index): frame for frame in sorted(frames, key=_by_number)}
    places = _places(list(once.values()))
    most = max(len(place) for place in places)
    if most == 1:
        return list(once.values()), _duplicates(len(frames) - len(once))
    if (found := _split(places)) is not None:
        return [], [_several(found[1], found[0], len(once))]
    return _without_copies(places, len(frames) - len(once))


def check_stack(frames: Sequence[Frame], *, spatial_dims: int) -> list[Finding]:
    """Findings about planes in one place each: number, steps, tilt, direction, pixels.

    Args:
        frames: planes of one volume.
        spatial_dims: of the network, 2 or 3.
    """
    stack = stack_of(frames)
    first = stack.frames[0]
    findings: list[Finding] = []
    if len(frames) == 1 and spatial_dims == 3:
        findings.append(finding("SINGLE_SLICE", "the series has a single slice, the bundle needs a volume."))
    places = places_of(stack)
    findings.extend(_steps(stack, places))
    if places is not None:
        findings.extend(_shift(stack.frames, places))
    if abs(first.spacing[0] - first.spacing[1]) > 1e-4 * max(first.spacing):
        rows, columns = first.spacing
        message = f"rows are {rows:g} mm apart, columns {columns:g} mm."
        findings.append(finding("PIXEL_NON_SQUARE", message, len(frames)))
    findings.extend(_direction(first, len(frames)))
    findings.extend(_order(stack.frames))
    return findings


def _by_number(frame: Frame) -> tuple[bool, int, str, int]:
    return frame.number is None, frame.number or 0, frame.instance.uid, frame.index


def _distinct(keyword: str, frames: Iterable[Frame]) -> int:
    return len({frame.marks.get(keyword) for frame in frames})


def _counted(keyword: str, frames: Iterable[Frame]) -> list[int]:
    counts: dict[str | None, int] = {}
    for frame in frames:
        counts[frame.marks.get(keyword)] = counts.get(frame.marks.get(keyword), 0) + 1
    return list(counts.values())


def _several(sizes: Sequence[int], how: str, instances: int) -> Finding:
    shown = ", ".join(str(size) for size in sizes[:_TRUNCATED])
    message = f"the series holds {len(sizes)} volumes ({shown} slices) told apart by {how}; choose one with --select."
    return finding("VOLUME_MULTIPLE", message, instances)


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Planes by position: along the normal, then in the plane."""
    distances = positions_along(frames, normal_of(frames[0]))
    places: list[list[Frame]] = []
    last = -np.inf
    for index in np.argsort(distances, kind="stable"):
        frame = frames[int(index)]
        if distances[index] - last > _SAME_PLACE_MM:
            places.append([])
            last = distances[index]
        places[-1].append(frame)
    return places


def _duplicates(count: int) -> list[Finding]:
    return [finding("SLICE_DUPLICATE", "slices that are stored twice are used once.", count)] if count else []


def _split(places: Sequence[Sequence[Frame]]) -> tuple[str, list[int]] | None:
    """What tells the planes at each position apart, and the sizes of the volumes; None when nothing does."""
    repeated = [place for place in places if len(place) > 1]
    keywords = dict.fromkeys(keyword for place in repeated for frame in place for keyword in frame.marks)
    varying = [
        keyword
        for keyword in keywords
        if any(len({frame.marks.get(keyword) for frame in place}) > 1 for place in repeated)
    ]
    frames = [frame for place in places for frame in place]
    # One attribute is the clearer answer where it suffices.
    for chosen in [[keyword] for keyword in varying] + ([varying] if len(varying) > 1 else []):

        def key(frame: Frame, chosen: Sequence[str] = chosen) -> tuple[str | None, ...]:
            return tuple(frame.marks.get(keyword) for keyword in chosen)

        if (sizes := _partition(frames, places, key)) is not None:
            return _named(chosen, frames), sizes
    for keyword in dict.fromkeys(keyword for place in repeated for frame in place for keyword in frame.times):
        # Times may differ from slice to slice: the n-th time at each position belongs to the n-th volume.
        even = len({len(place) for place in places}) == 1
        if even and all(len({frame.times.get(keyword) for frame in place}) == len(place) for place in places):
            return keyword, [len(places)] * len(places[0])
    return None


def _named(chosen: Sequence[str], frames: Sequence[Frame]) -> str:
    numeric = []
    for keyword in chosen:
        values = sorted({frame.marks.get(keyword, "") for frame in frames})
        shown = values if all(_is_number(value) for value in values) and len(values) <= _TRUNCATED else []
        numeric.append(f"{keyword}{' ' + ', '.join(shown) if shown else ''}")
    return " and ".join(numeric)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _partition(
    frames: Sequence[Frame], places: Sequence[Sequence[Frame]], key: Callable[[Frame], tuple[str | None, ...]]
) -> list[int] | None:
    """Sizes of the volumes that a key makes; None unless it tells apart all planes at every position."""
    if any(len({key(frame) for frame in place}) < len(place) for place in places):
        return None
    sizes: dict[tuple[str | None, ...], int] = {}
    for frame in frames:
        sizes[key(frame)] = sizes.get(key(frame), 0) + 1
    # A value of its own for each slice says nothing about volumes.
    return None if len(places) > 1 and min(sizes.values()) == 1 else list(sizes.values())


def _without_copies(places: Sequence[Sequence[Frame]], already: int) -> tuple[list[Frame], list[Finding]]:
    kept: list[Frame] = []
    conflicts = copies = 0
    for place in places:
        kept.append(place[0])
        if len(place) > 1:
            same = len({(_pixel_digest(frame), frame.slope, frame.intercept) for frame in place}) == 1
            copies += len(place) - 1 if same else 0
            conflicts += 0 if same else 1
    repeated = sum(len(place) > 1 for place in places)
    if conflicts > 1 and repeated > len(places) / 2:
        most = max(len(place) for place in places)
        message = (
            f"{repeated} of {len(places)} positions hold up to {most} slices each, which no attribute tells apart: a series of several "
            "volumes (time points, echoes, b-values); export them as series of their own."
        )
        return [], [finding("VOLUME_MULTIPLE", message, sum(map(len, places)))]
    if conflicts:
        message = f"{conflicts} positions hold slices of different content that no attribute tells apart; remove the wrong ones."
        return [], [finding("SLICE_CONFLICT", message, conflicts)]
    return kept, _duplicates(copies + already)


def _pixel_digest(frame: Frame) -> bytes:
    """Digest of a slice's stored bytes; frames of one file and deflated files never count as copies."""
    digest = hashlib.sha256(f"{frame.instance.syntax} {frame.index}".encode())
    pixels = frame.instance.pixels
    if frame.instance.deflated:
        digest.update(frame.instance.uid.encode())
    elif pixels is not None:
        with frame.instance.path.open("rb") as file:
            file.seek(pixels.offset)
            digest.update(file.read(pixels.end - pixels.offset))
    return digest.digest()


def _steps(stack: Stack, places: Sequence[int] | None) -> list[Finding]:
    steps, median = stack.steps_mm, stack.median_mm
    if not len(steps):
        return []
    span = f"steps of {steps.min():.4g} to {steps.max():.4g} mm, median {median:.4g} mm"
    if places is None:
        wrong = np.flatnonzero(np.abs(steps - median) > step_tolerance_mm(median))
        message = f"the slices are not evenly spaced ({span}); get an evenly spaced series."
        return [finding("SPACING_NON_UNIFORM", message, len(wrong))]
    missing = places[-1] + 1 - len(places)
    if not missing:
        return []
    first = next(index for index, (a, b) in enumerate(pairwise(places), start=1) if b > a + 1)
    message = f"{missing} slices are missing, first behind slice {first} ({span}); get the whole series."
    return [finding("SLICE_GAP", message, missing)]


def _shift(frames: Sequence[Frame], places: Sequence[int]) -> list[Finding]:
    """Whether planes are shifted against each other: evenly, which is a tilt, or not."""
    if len(frames) < 2:
        return []
    positions = np.asarray([frame.position for frame in frames])
    step = (positions[-1] - positions[0]) / places[-1]
    drift = np.linalg.norm(positions - (positions[0] + np.outer(places, step)), axis=1)
    tolerance = step_tolerance_mm(float(np.linalg.norm(step)))
    if drift.max() > tolerance:
        message = f"the planes are shifted by up to {drift.max():.4g} mm off a straight line; get a regular series."
        return [finding("SPACING_NON_UNIFORM", message, int((drift > tolerance).sum()))]
    angle = angle_degrees(step, normal_of(frames[0]))
    if angle > ANGLE_TOLERANCE_DEGREES:
        message = f"the stack is sheared by {angle:.2f} degrees; it is straightened for the network, the result is not."
        return [finding("GANTRY_TILT", message, len(frames))]
    stated = _stated_tilt(frames[0])
    if abs(stated) > 1:
        message = f"GantryDetectorTilt is {stated:g} degrees, the positions form a right grid and are used."
        return [finding("GANTRY_TILT_INCONSISTENT", message, len(frames))]
    return []


def _stated_tilt(frame: Frame) -> float:
    from monai_dis.dicom.values import AttributeProblem

    try:
        return number(frame.instance.header, "GantryDetectorTilt") or 0.0
    except AttributeProblem:
        return 0.0


def _direction(first: Frame, count: int) -> list[Finding]:
    main = [int(np.argmax(np.abs(axis))) for axis in (first.row, first.column)]
    # A tilted gantry leans the planes about the left-right axis; planes of 45 degrees and more are not axial in any case.
    lean = angle_degrees(normal_of(first), (0.0, 0.0, 1.0))
    lean = min(lean, 180 - lean)
    if main != [0, 1] or lean > ANGLE_TOLERANCE_DEGREES or abs(first.row[1]) > 2e-3:
        message = f"the planes are not axial (normal {lean:.1f} degrees off the body's axis)."
        return [finding("ORIENTATION_OBLIQUE", message, count)]
    if first.row[0] < 0 or first.column[1] < 0:
        return [finding("AXIS_REVERSED", "rows or columns run against the patient's left or back.", count)]
    return []


def _order(frames: Sequence[Frame]) -> list[Finding]:
    if len({frame.instance.uid for frame in frames}) < 2:
        return []
    numbers = [frame.number for frame in frames]
    if any(each is None for each in numbers):
        message = "InstanceNumber is missing or empty; the order is that of the positions."
    elif any(b <= a for a, b in pairwise(numbers) if a is not None and b is not None):
        message = "InstanceNumber does not rise with the position; the order is that of the positions."
    else:
        return []
    return [finding("SLICE_ORDER", message, len(frames))]
