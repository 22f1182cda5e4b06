"""What a viewer asks for, as checked values: what is in the schema is checked, what is not is left out.

Viewers send the options of their panel, a list of points for every name in the server's list of labels, and fields of their own that
change from release to release. A field that is not known here reaches no task and no file; it is logged once.
Points are voxels of the image's file (column, row, slice), counted from 0.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_dis.errors import DisError
from monai_dis.pipeline.modes import MODES

__all__ = [
    "BUDGETS",
    "EXTENSIONS",
    "InferRequest",
    "MOST_POINTS",
    "Point",
    "RequestError",
    "RUN_FIELDS",
    "check_batch",
    "check_save",
    "check_strategy",
    "check_training",
    "read_infer",
    "read_tag",
]

#: Budgets that the panel offers, as shares of one full pass; ``bundle`` is the bundle's own.
BUDGETS = ("bundle", "auto", "0.02", "0.05", "0.1", "0.2", "0.5", "1")
#: Files in which an answer is given; the empty one is that of the image.
EXTENSIONS = ("", ".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".seg.dcm", ".png")
MOST_POINTS = 200
_FARTHEST = 1e6
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LONGEST = 256
_LONGEST_COMMENT = 4000
_MOST_NOTED = 100

Check = Callable[[Any], Any]
logger = logging.getLogger(__name__)
_noted: set[str] = set()


class RequestError(DisError, ValueError):
    """A request that does not fit the schema; the server answers 422 with the sentence."""


@dataclass(frozen=True)
class Point:
    """A click.

    Attributes:
        voxel: in voxels of the file, from 0, one number per axis.
        label: class index that is there; 0 for the background.
    """

    voxel: tuple[float, ...]
    label: int


@dataclass(frozen=True)
class InferRequest:
    """A request for a segmentation.

    Attributes:
        mode: one of `monai_dis.pipeline.modes.MODES`.
        budget: share of a full pass, ``"auto"``, or None for the bundle's own.
        extension: of the answer's file; empty for that of the image.
        dtype: of the answer's voxels, ``"uint8"`` or ``"uint16"``; None for the smallest that holds the classes.
        compress: whether an ``.nrrd`` is compressed.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``; a GPU that is not there counts as ``"auto"``.
        points: clicks, in the order of the request.
        restore_numbers: as OHIF sends it, False; None from viewers that read an answer's names from the answer.
    """

    mode: str = "dis"
    budget: float | str | None = None
    extension: str = ""
    dtype: str | None = None
    compress: bool = False
    device: str = "auto"
    points: tuple[Point, ...] = ()
    restore_numbers: bool | None = None


def read_infer(params: Mapping[str, Any], classes: Mapping[int, str]) -> InferRequest:
    """Check the parameters of an inference.

    Args:
        params: as the client sent them.
        classes: names of the model's classes by index, from 1.

    Raises:
        RequestError: when a parameter is out of range, or there are points of something that is no class of the model.
    """
    numbers = {name: number for number, name in classes.items()}
    named = dict.fromkeys([*numbers, "background", "foreground"], _points)
    _refuse_other_points(params, {*named, *_INFER}, numbers)
    given = _checked(params, {**_INFER, **named})
    active = given.get("label")
    if active is not None and active not in numbers and active != "background":
        active = None  # the name of a segment that the viewer made; the first class is meant
    # Viewers keep points of one class under `foreground`, or of every class under its name.
    meant = {**numbers, "background": 0, "foreground": numbers.get(str(active), min(classes, default=1))}
    points = [Point(voxel, meant[name]) for name in meant for voxel in given.get(name) or ()]
    if len(points) > MOST_POINTS:
        raise RequestError(f"there are {len(points)} points; place {MOST_POINTS} at most.")
    if len({len(point.voxel) for point in points}) > 1:
        raise RequestError("points must all have the same number of coordinates.")
    return InferRequest(
        mode=given.get("mode") or "dis",
        budget=given.get("budget"),
        extension=given.get("result_extension") or "",
        dtype=given.get("result_dtype"),
        compress=bool(given.get("result_compress")),
        device=given.get("device") or "auto",
        points=tuple(points),
        restore_numbers=given.get("restore_label_idx"),
    )


def check_training(params: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters of a training.

    Raises:
        RequestError: when a parameter is out of range.
    """
    return _checked(params, _TRAINING)


def check_batch(params: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters of a batch inference; see `check_training`."""
    return _checked(params, _BATCH)


def check_strategy(params: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters of a strategy or a scoring method; see `check_training`."""
    return _checked(params, _STRATEGY)


def check_save(params: Mapping[str, Any]) -> dict[str, Any]:
    """Check what is said of a label or an image that is saved; see `check_training`."""
    return _checked(params, _SAVE)


def read_tag(tag: str) -> str:
    """A label's tag, which becomes the name of a folder.

    Raises:
        RequestError: when it is no plain word.
    """
    return str(_word(tag))


def _checked(params: Mapping[str, Any], schema: Mapping[str, Check]) -> dict[str, Any]:
    if not isinstance(params, Mapping):
        raise RequestError("the parameters must be a JSON object.")
    found = {}
    _note(key for key in params if key not in schema)
    for key, value in params.items():
        if key not in schema:
            continue
        try:
            # Panels send a choice as the list of choices when nobody chose; the first is the default.
            first = isinstance(value, list) and schema[key] not in (_points, _records)
            found[key] = schema[key](value[0] if first and value else value)
        except RequestError as error:
            raise RequestError(f"the parameter {_shown(key)} cannot be used: {error}") from error
    return found


def _refuse_other_points(params: Mapping[str, Any], known: Collection[str], classes: Collection[str]) -> None:
    """Points of another bundle's class, or of a segment that the viewer made, would be lost; an empty list of them says nothing."""
    for key, value in params.items():
        if key not in known and isinstance(value, list) and value and all(map(_is_point, value)):
            raise RequestError(
                f"there are points of {_shown(key)}, which is no class of this model; its classes are "
                f"{', '.join(classes)}: choose one of them, or another model."
            )


def _is_point(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) in (2, 3)
    return numbers and all(isinstance(each, (int, float)) for each in value)


def _note(names: Iterable[Any]) -> None:
    """Log that a client sends what is not known here, each name once; a name that is no plain word may be a person's."""
    for name in names:
        word = str(name) if _WORD.fullmatch(str(name)) else "a name that is no plain word"
        if word not in _noted and len(_noted) < _MOST_NOTED:
            _noted.add(word)
            logger.info("a client sends %s, which is not known here and is left out", word)


def _shown(key: Any) -> str:
    """A key as it may be repeated: no control characters, and not much of it."""
    return repr(str(key)[:40])


def _one_of(*choices: str) -> Check:
    def check(value: Any) -> str:
        if value is None or (isinstance(value, str) and value in choices):
            return value or ""
        raise RequestError(f"it must be one of {', '.join(c for c in choices if c)}.")

    return check


def _between(low: float, high: float, *, whole: bool = False) -> Check:
    def check(value: Any) -> float | int:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high or (whole and int(value) != value):
            raise RequestError(f"it must be a {'whole ' if whole else ''}number from {low:g} to {high:g}.")
        return int(value) if whole else float(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise RequestError("it must be true or false.")
    return value


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise RequestError(f"it must be a line of {_LONGEST} characters at most.")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value) or ".." in value:
        raise RequestError("it must be a word of letters, digits, '-', '_' and '.'.")
    return value


def _budget(value: Any) -> float | str | None:
    if value in (None, "", "bundle"):
        return None
    if value == "auto":
        return "auto"
    try:
        share = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise RequestError("it must be bundle, auto, or a share of one full pass from 0 to 1.")
    return share


def _device(value: Any) -> str:
    """Viewers may know GPUs by names of their own; all of these mean the GPU."""
    word = _text(value) or "auto"
    return word if word in ("auto", "cpu") else "cuda"


def _points(value: Any) -> list[tuple[float, ...]]:
    if value is None:
        return []
    if isinstance(value, str):
        raise RequestError("it must be a list of points, each a list of two or three numbers.")
    if not isinstance(value, Sequence) or len(value) > MOST_POINTS:
        raise RequestError(f"it must be a list of {MOST_POINTS} points at most.")
    points = []
    for point in value:
        good = isinstance(point, Sequence) and not isinstance(point, str) and len(point) in (2, 3)
        if not good or not all(isinstance(c, (int, float)) and abs(c) < _FARTHEST for c in point):
            raise RequestError("a point must be two or three numbers: column, row and slice.")
        points.append(tuple(float(c) for c in point))
    return points


def _records(value: Any) -> list[dict[str, Any]]:
    """What a viewer says of segments: names, indices and colours."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _LONGEST or not all(isinstance(each, dict) for each in value):
        raise RequestError(f"it must be a list of {_LONGEST} objects at most.")
    for each in value:
        for key, entry in each.items():
            plain = isinstance(entry, (int, float)) or entry is None
            listed = isinstance(entry, list) and len(entry) <= 4 and all(isinstance(c, (int, float)) for c in entry)
            coded = key == "segmentAttribute" and isinstance(entry, dict) and len(str(entry)) < 10_000
            if not (plain or listed or coded):
                _text(entry)
    return value


def _comment(value: Any) -> str | None:
    """Free text of several lines."""
    if value is None:
        return None
    plain = isinstance(value, str) and len(value) <= _LONGEST_COMMENT
    if not plain or not all(letter.isprintable() or letter in "\r\n\t" for letter in value):
        raise RequestError(f"it must be text of {_LONGEST_COMMENT} characters at most.")
    return str(value)


def _moment(value: Any) -> float | str | None:
    """Seconds since 1970, or a date in words."""
    return _between(0, 1e12)(value) if isinstance(value, (int, float)) else _text(value)


_VIEWER: dict[str, Check] = {"client_id": _text}
_OUTPUT: dict[str, Check] = {
    "result_extension": _one_of(*EXTENSIONS),
    "result_dtype": lambda value: _one_of("uint8", "uint16")(value) or None,
    "result_compress": _flag,
    "restore_label_idx": _flag,
}
_RUN: dict[str, Check] = {
    "mode": _one_of(*MODES),
    "budget": _budget,
    "device": lambda value: _device(value),
}
_INFER: dict[str, Check] = {**_VIEWER, **_OUTPUT, **_RUN, "label": _text, "label_info": _records}
_BATCH: dict[str, Check] = {
    **_VIEWER,
    **_OUTPUT,
    **_RUN,
    "multi_gpu": _flag,
    "gpus": _word,
    "logging": _word,
    "save_label": _flag,
    "label_tag": _word,
    "max_workers": _between(0, 64, whole=True),
    "max_batch_size": _between(0, 1_000_000, whole=True),
}
_TRAINING: dict[str, Check] = {
    **_VIEWER,
    "parts": _one_of("coarse", "refine", "both"),
    "max_epochs": _between(1, 1000, whole=True),
    "steps_per_epoch": _between(1, 10_000, whole=True),
    "val_split": _between(0, 0.9),
    "learning_rate": _between(1e-7, 1),
    "device": _RUN["device"],
    "restore": _flag,
    "gpus": _word,
    # what other apps of MONAI Label take, and viewers repeat
    "name": _word,
    "model": _word,
    "multi_gpu": _flag,
}
_STRATEGY: dict[str, Check] = {
    **_VIEWER, "run_sync": _flag, "model": _word, "device": _RUN["device"], "gpus": _word, "multi_gpu": _flag,
}  # fmt: skip
#: What MONAILabelReviewer says of a label.
_REVIEW: dict[str, Check] = {
    "status": _text, "approvedBy": _text, "level": _text, "comment": _comment, "editTime": _moment,
}  # fmt: skip
_SAVE: dict[str, Check] = {
    **_VIEWER,
    "label_info": _records,
    "name": _text,
    "description": _text,
    "model": _text,
    "empty": _flag,
    "segmentationMeta": lambda value: None if value is None else _checked(value, _REVIEW),
}

#: What says how a network is run and how its answer is written, without points.
RUN_FIELDS = (*_OUTPUT, *_RUN)
