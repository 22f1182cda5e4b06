"""All labels of a data set, checked before anything is trained on them: one sentence for everything that is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_dis.data.cases import Dataset
from monai_dis.data.label_geometry import GeometryPolicy
from monai_dis.data.label_values import UnknownLabelValues, how_to_map
from monai_dis.data.labels import LoadLabeld
from monai_dis.data.registry import read_dataset
from monai_dis.errors import DataError, DisError

__all__ = ["check_labels", "labelled_dataset"]

logger = logging.getLogger(__name__)

_LISTED, _TOLD = 8, 3  # numbers; files with a sentence of their own
_checked: set[tuple[Any, ...]] = set()


def labelled_dataset(
    name: str,
    folder: str | Path,
    num_classes: int | None = None,
    *,
    label_map: Mapping[Any, Any] | None = None,
    geometry: GeometryPolicy | str = GeometryPolicy.REJECT,
) -> Dataset:
    """Read a data set whose labels are all found to be good: what a training stage begins with.

    Labels are checked once a process, for as long as their files stay as they are.

    Args:
        name: as for :func:`monai_dis.data.read_dataset`.
        folder: likewise.
        num_classes: number of classes with the background.
        label_map: the class of each number in the files.
        geometry: what is done about labels that lie elsewhere than their images.

    Raises:
        DataError: when the folder cannot be read, or labels cannot be used.
    """
    data = read_dataset(name, folder)
    items = [case.item() for case in data.cases if case.name in {*data.train, *data.val}]
    loader = LoadLabeld("label", num_classes, label_map=label_map, geometry=geometry)
    key = (name, num_classes, str(loader.label_map), loader.geometry, _stamps(items))
    if key not in _checked:
        logger.info("checking %d labels", len(items))
        check_labels(items, loader)
        _checked.add(key)
    return data


def check_labels(items: Iterable[Mapping[str, Any]], load: LoadLabeld) -> None:
    """Read every label, and say in one error which cannot be used, and why.

    Args:
        items: with ``image`` and ``label`` as from :meth:`monai_dis.data.Dataset.datalist`.
        load: the reader of labels.

    Raises:
        DataError: when there are several; of one alone its own error.
    """
    errors: list[DisError] = []
    for item in items:
        try:
            load(dict(item.items()))
        except DisError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    unknown = [error for error in errors if isinstance(error, UnknownLabelValues)]
    others = [str(error) for error in errors if not isinstance(error, UnknownLabelValues)]
    parts = [_about_values(unknown)] if unknown else []
    parts += others[:_TOLD]
    if len(others) > _TOLD:
        parts.append(f"{len(others) - _TOLD} more")
    if len(parts) == 1:
        raise DataError(parts[0])
    if parts:
        lines = "\n".join(f"  {part}" for part in parts)
        raise DataError(f"{len(errors)} labels cannot be used:\n{lines}")


def _about_values(errors: Sequence[UnknownLabelValues]) -> str:
    """What is unknown, in how many files, and what to do."""
    files: dict[int, list[Path]] = {}
    for error in errors:
        for value in error.values:
            files.setdefault(value, []).append(error.path)
    values, known = sorted(files), errors[0].num_classes
    listed = [f"{value} in {_files(files[value])}" for value in values[:_LISTED]]
    if len(values) > _LISTED:
        listed.append(f"{len(values) - _LISTED} more numbers")
    classes = "" if known is None else f" of 0 to {known - 1}"
    return f"the labels hold numbers that are no class{classes}: {', '.join(listed)}; {how_to_map(values, known)}."


def _files(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} files (first: {paths[0]})"


def _stamps(items: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the data set does."""
    labels = (item["label"].values() if isinstance(item["label"], Mapping) else [item["label"]] for item in items)
    paths = {str(path) for group in labels for path in group if path} | {str(item["image"]) for item in items}
    stats = [(path, Path(path).stat()) for path in sorted(paths) if Path(path).is_file()]
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
