"""Images in work: prepared once, with the answers given so far, so that a preview, an answer and clicks share what they can."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.inferers.clicks import Click
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.pipeline.predict import Prepared

__all__ = ["Case", "CaseStore", "Standing", "file_stamp"]

#: Cases kept; a reader works on one and may look back at another.
KEPT = 2

Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class Standing:
    """An answer as it stands, before it is brought back to the file.

    Attributes:
        mosaic: the answer.
        statistics: of the run, in plain JSON types.
        clicks: that are in it, in the order in which they were added.
        changed: corner and size of the windows of these clicks, in voxels of the prepared image.
    """

    mosaic: Mosaic = field(repr=False)
    statistics: Mapping[str, Any] = field(repr=False)
    clicks: tuple[Click, ...] = ()
    changed: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


@dataclass
class Case:
    """One image.

    Attributes:
        prepared: read and ready for the network.
        standing: answers by what they depend on.
        clicked: the answer with clicks, by the same key as the one that it began with.
    """

    prepared: Prepared
    standing: dict[Any, Standing] = field(default_factory=dict)
    clicked: dict[Any, Standing] = field(default_factory=dict)


class CaseStore:
    """The last few cases; a file that changed is another case.

    Args:
        most: number of cases kept.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._cases: OrderedDict[Any, Case] = OrderedDict()

    def get(self, key: Any) -> Case | None:
        """The case of a key, which becomes the newest."""
        if key in self._cases:
            self._cases.move_to_end(key)
        return self._cases.get(key)

    def put(self, key: Any, case: Case) -> Case:
        """Keep a case, and let the oldest go."""
        self._cases[key] = case
        self._cases.move_to_end(key)
        while len(self._cases) > self.most:
            self._cases.popitem(last=False)
        return case

    def clear(self) -> None:
        """Forget all cases."""
        self._cases.clear()


def file_stamp(path: Path) -> Stamp:
    """What changes when a file does."""
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size
