"""Read, work and write at once over a list of items, with no more than three of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Loaded],
    work: Callable[[Item, Loaded], Answer],
    write: Callable[[Item, Answer], Result],
) -> Iterator[Result]:
    """Run three steps over items: while one is worked on, the next is read and the last is written.

    Reading and writing have a thread each, since what they call waits for disks or computes outside Python; ``work`` runs in the
    caller's. At most one item is in each step, and none waits between them but what was just read: memory holds three.

    Args:
        items: in the order of the results.
        read: of an item.
        work: on what was read.
        write: what came out of it.

    Yields:
        what ``write`` returned, for each item.

    Raises:
        Exception: whatever a step raises; steps already begun are finished first, no further one is.

    Example:
        >>> list(overlapped([1, 2, 3], lambda n: n * 10, lambda n, ten: ten + n, lambda n, sum: f"{n}: {sum}"))
        ['1: 11', '2: 22', '3: 33']
    """
    if not items:
        return
    with (
        ThreadPoolExecutor(1, thread_name_prefix="reading") as reading,
        ThreadPoolExecutor(1, thread_name_prefix="writing") as writing,
    ):
        being_read: Future[Loaded] | None = reading.submit(read, items[0])
        being_written: Future[Result] | None = None
        for place, item in enumerate(items):
            assert being_read is not None
            loaded = being_read.result()
            # The future would keep what it returned.
            being_read = reading.submit(read, items[place + 1]) if place + 1 < len(items) else None
            answer = work(item, loaded)
            del loaded
            if being_written is not None:
                yield being_written.result()
            being_written = writing.submit(write, item, answer)
            del answer
        if being_written is not None:
            yield being_written.result()
