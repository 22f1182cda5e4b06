"""One list of class names for all bundles of a server, and the numbers by which a viewer knows them.

OHIF makes its segments from ``info.labels`` once, when it connects, and shows every answer with these names, whichever model gave it. So an
answer to OHIF has the numbers of that list, and not those of its bundle, in which the first class of each bundle is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Numbering"]


@dataclass(frozen=True)
class Numbering:
    """Names by number.

    Attributes:
        names: of all classes, in the order of their numbers, from 1; a name that several bundles use stands once.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, bundles: Iterable[Mapping[int, str]]) -> Numbering:
        """The list of some bundles, in their order.

        Example:
            >>> Numbering.of([{1: "left atrium"}, {1: "spleen", 2: "liver"}]).names
            ('left atrium', 'spleen', 'liver')
        """
        return cls(tuple(dict.fromkeys(name for classes in bundles for _, name in sorted(classes.items()))))

    def numbers(self, classes: Mapping[int, str]) -> dict[int, int]:
        """The number in this list for each index of a bundle; names that are not in it come after its end.

        Example:
            >>> Numbering(("left atrium", "liver")).numbers({1: "liver", 2: "uncertain"})
            {1: 2, 2: 3}
        """
        known = {name: number for number, name in enumerate(self.names, start=1)}
        others = [name for _, name in sorted(classes.items()) if name not in known]
        known.update({name: len(self.names) + place for place, name in enumerate(others, start=1)})
        return {index: known[name] for index, name in classes.items()}

    def renumbered(self, labels: npt.NDArray[np.generic], classes: Mapping[int, str]) -> npt.NDArray[np.uint8]:
        """Labels of a bundle with the numbers of this list."""
        lookup = np.zeros(256, np.uint8)
        for index, number in self.numbers(classes).items():
            lookup[index] = number
        renumbered: npt.NDArray[np.uint8] = lookup[labels]
        return renumbered
