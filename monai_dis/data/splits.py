"""Which cases train and which validate.

A ``splits.json`` in the data folder decides. Without one, the validation names that this project was developed with
are kept apart where they are present, so that a shipped bundle is never evaluated on an image that it was trained on;
a set without such names gives a seeded quarter. Cases of one group stay together.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai_dis.data.cases import Case
from monai_dis.errors import DataError

__all__ = ["SPLIT_FILE", "quarter", "split_cases"]

SPLIT_FILE = "splits.json"
_SEED = 0


def split_cases(cases: Sequence[Case], folder: Path | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the training and of the validation cases.

    Args:
        cases: cases of one source set; those without a label are left out.
        folder: where a ``splits.json`` may lie: ``{"train": [names], "val": [names]}``; without ``train``, all others
            train.

    Raises:
        DataError: when ``splits.json`` cannot be understood.
    """
    labelled = [case for case in cases if case.label is not None]
    file = None if folder is None else folder / SPLIT_FILE
    if file is not None and file.is_file():
        return _read(file, [case.name for case in labelled])
    known = {name for case in labelled for name in _known_validation_names().get(case.dataset, ())}
    chosen = {case.name for case in labelled if case.name in known} or quarter(labelled)
    names = sorted(case.name for case in labelled)
    return tuple(n for n in names if n not in chosen), tuple(n for n in names if n in chosen)


def quarter(cases: Sequence[Case], seed: int = _SEED) -> set[str]:
    """Draw a quarter of the cases, groups whole: the same names for the same cases and seed on every machine."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.group or case.name, []).append(case.name)
    if len(groups) < 2:
        return set()
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    wanted, chosen = max(1, round(len(cases) / 4)), set[str]()
    for group in order:
        if len(chosen) >= wanted:
            break
        chosen.update(groups[group])
    return chosen


def _read(file: Path, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}); mend it or remove it.") from error
    parts = content if isinstance(content, dict) else {}
    val: Any = parts.get("val")
    train: Any = parts.get("train", [name for name in names if name not in (val or [])])
    if not all(isinstance(part, list) and all(isinstance(n, str) for n in part) for part in (train, val)):
        raise DataError(
            f'{file} must look like {{"train": ["name", ...], "val": ["name", ...]}}, names without suffix; mend it.'
        )
    return tuple(train), tuple(val)


@lru_cache(maxsize=1)
def _known_validation_names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = json.loads(
        Path(__file__).with_name("validation_names.json").read_text(encoding="utf-8")
    )
    return names
