"""What a data set is once it is read: cases with their files, and who trains on which."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from monai_dis.errors import DataError

__all__ = ["Case", "Dataset"]

_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        name: unique within the data set.
        image: image file.
        label: label file; for classes that may overlap, the mask file of each class by its name, None for a class that
            the image lacks (a file that several classes share holds class indices, see
            :class:`monai_dis.data.LoadLabeld`); None where the data set withholds the label.
        dataset: the set that it comes from, such as ``"drive"``.
        label_rule: how the label file's values become class indices, a value of :class:`monai_dis.data.LabelRule`.
        group: cases of one group (the two eyes of a child) are never parted by a split; empty for a group of its own.
        extra: further files, such as ``{"fov": ...}``, the camera's field of view.
    """

    name: str
    image: Path
    label: Path | Mapping[str, Path | None] | None
    dataset: str
    label_rule: str = "index"
    group: str = ""
    extra: Mapping[str, Path] = field(default_factory=dict)

    def item(self) -> dict[str, Any]:
        """The case for MONAI's dictionary transforms; ``label`` and ``rule`` only where there is a label."""
        # MONAI's Spacingd takes every key that begins with "label_" for meta data of the label.
        label = {} if self.label is None else {"label": _plain(self.label), "rule": self.label_rule}
        return {"image": str(self.image), **label, "name": self.name}


def _plain(label: Path | Mapping[str, Path | None]) -> str | dict[str, str | None]:
    if isinstance(label, Mapping):
        return {name: None if path is None else str(path) for name, path in label.items()}
    return str(label)


@dataclass(frozen=True)
class Dataset:
    """A data set that was read, with its split.

    Attributes:
        name: name of the reader, such as ``"ph2"``.
        cases: all cases, sorted by name. Some may be in neither part of the split.
        train: names to train on.
        val: names that no training sees.
        label_names: name of each class index, background first; empty where the reader does not know. Classes that may
            overlap are the channels of the label in this order, without the background.
        test: names of the set's official test part, which neither trains nor validates; empty where it has none.

    Raises:
        DataError: when names are not unique, unknown, in two parts, or without a label.
    """

    name: str
    cases: tuple[Case, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        double = [name for name, count in Counter(case.name for case in self.cases).items() if count > 1]
        if double:
            raise DataError(
                f"the data set {self.name} has two cases called {double[0]}; give each image a name of its own."
            )
        for one, other in combinations(_PARTS, 2):
            both = sorted({*getattr(self, one)} & {*getattr(self, other)})
            if both:
                raise DataError(
                    f"{both[0]} is in both `{one}` and `{other}` of the split of {self.name}; leave it in one of them."
                )
        labelled = {case.name for case in self.cases if case.label is not None}
        for part in _PARTS:
            absent = sorted({*getattr(self, part)} - labelled)
            if absent:
                raise DataError(
                    f"the split of {self.name} names {len(absent)} cases in `{part}` without image and label "
                    f"(first: {absent[0]}); add their files or take them out of splits.json."
                )

    def __len__(self) -> int:
        return len(self.cases)

    def part(self, split: str) -> tuple[Case, ...]:
        """Cases of ``"train"``, ``"val"``, ``"test"`` or ``"all"`` (labelled or not, split or not), in the order of ``cases``.

        Raises:
            DataError: for another name, and for ``"test"`` where the set has no official test part.
        """
        if split == "all":
            return self.cases
        known = _PARTS if self.test else _PARTS[:2]
        if split not in known:
            raise DataError(f"{self.name} has the parts {', '.join(known)} and all, not {split!r}; name one of them.")
        names = {*getattr(self, split)}
        return tuple(case for case in self.cases if case.name in names)

    def folds(self, k: int, seed: int = 0) -> tuple[tuple[str, ...], ...]:
        """Part the training names in ``k`` folds of nearly equal size, groups whole and every source set spread evenly.

        Args:
            k: number of folds, 2 or more.
            seed: the same seed gives the same folds on every machine.

        Raises:
            DataError: when there are fewer groups than folds.
        """
        groups: dict[tuple[str, str], list[str]] = {}
        for case in self.part("train"):
            groups.setdefault((case.dataset, case.group or case.name), []).append(case.name)
        if k < 2:
            raise DataError(f"the folds of {self.name} are to be {k}; ask for 2 or more.")
        if len(groups) < k:
            have = f"is {len(groups)} training case" if len(groups) == 1 else f"are {len(groups)} training cases"
            raise DataError(
                f"there {have} in {self.name} that stand alone, and training out of fold in {k} folds needs {k}; label "
                f"{k - len(groups)} more (cases of one patient count once, and cases for validation do not count)."
            )
        order = sorted(groups)
        random.Random(seed).shuffle(order)
        order.sort(key=lambda key: key[0])  # stable: shuffled within each source set, then dealt like cards
        return tuple(tuple(sorted(name for key in order[i::k] for name in groups[key])) for i in range(k))

    def datalist(
        self,
        split: str = "train",
        *,
        fold: int | None = None,
        held_out_fold: int | None = None,
        folds: int = 3,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """List the cases as MONAI's ``Dataset`` takes them.

        Args:
            split: see :meth:`part`.
            fold: leave this fold out of the training cases.
            held_out_fold: take only this fold of the training cases.
            folds: number of folds.
            seed: seed of the folds.

        Returns:
            dictionaries with the paths ``image`` and ``label`` (see :class:`Case`), and ``rule`` and ``name``.

        Raises:
            DataError: for an unknown split or fold.

        Example:
            >>> from pathlib import Path
            >>> cases = tuple(Case(n, Path(n + ".jpg"), Path(n + ".png"), "mine") for n in "abcd")
            >>> data = Dataset("mine", cases, train=("a", "b", "c"), val=("d",))
            >>> [item["name"] for item in data.datalist("val")]
            ['d']
        """
        cases = self.part(split)
        if fold is None and held_out_fold is None:
            return [case.item() for case in cases]
        if split != "train" or (fold is not None and held_out_fold is not None):
            raise DataError(
                "a fold is a part of the training cases: ask for `train` with either `fold` or `held_out_fold`."
            )
        number = fold if fold is not None else held_out_fold
        parts = self.folds(folds, seed)
        if number is None or not 0 <= number < folds:
            raise DataError(f"there is no fold {number}; {folds} folds are counted from 0 to {folds - 1}.")
        inside = {*parts[number]}
        return [case.item() for case in cases if (case.name in inside) == (held_out_fold is not None)]
