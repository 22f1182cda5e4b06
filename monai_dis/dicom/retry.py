"""Trying again: what may succeed later, and how long to wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep

__all__ = ["Retry"]


@dataclass(frozen=True)
class Retry:
    """How often something is tried, with a pause that doubles each time.

    Attributes:
        attempts: in all, 1 at least.
        pause_s: before the second one, in seconds.
        longest_s: no pause is longer.
    """

    attempts: int = 4
    pause_s: float = 1.0
    longest_s: float = 60.0

    def __iter__(self) -> Iterator[int]:
        """Numbers of the attempts, from 1, with the pauses between them."""
        for number in range(1, self.attempts + 1):
            if number > 1:
                sleep(min(self.longest_s, self.pause_s * 2 ** (number - 2)))
            yield number
