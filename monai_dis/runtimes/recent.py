"""A mapping that keeps the few entries used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator
from typing import Generic, TypeVar

__all__ = ["Recent"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The entries used last, at most so many; what is left out is made again when it is asked for.

    Args:
        most: number of entries.

    Example:
        >>> recent = Recent[str, int](2)
        >>> [recent.get(key, lambda: len(key)) for key in ("a", "bb", "a", "ccc")]
        [1, 2, 1, 3]
        >>> sorted(recent)
        ['a', 'ccc']
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The entry, made where there is none."""
        if key not in self._entries:
            self.put(key, make())
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Key, value: Value) -> None:
        """Set an entry; the one that was not used for longest goes."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self.most:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget an entry, if it is there."""
        self._entries.pop(key, None)

    def items(self) -> ItemsView[Key, Value]:
        """Keys and entries, those used last at the end."""
        return self._entries.items()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
