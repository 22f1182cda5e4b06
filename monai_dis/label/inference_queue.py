"""One network at a time, beside the request loop: requests for a segmentation wait in a queue of bounded length."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from monai_dis.label.incoming import Refusal

__all__ = ["InferenceQueue", "Ticket"]

#: Requests that wait at most; beyond it a reader is told at once, which is better than an answer after everybody has left.
MOST_WAITING = 16

T = TypeVar("T")


@dataclass
class Ticket(Generic[T]):
    """A request in the queue.

    Attributes:
        place: how many requests were before it when it came; 0 when it is computed at once.
        future: of its answer.
        began: how long it waited in seconds, known once it is computed.
    """

    place: int
    future: Future[T]
    waited: list[float] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """Plain JSON types for the answer."""
        return {"place": self.place, "waited": round(self.waited[0], 3) if self.waited else 0.0}


class InferenceQueue:
    """The queue.

    Args:
        most: requests that may wait besides the one that is computed.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self.most = most
        # Of the priority of all other threads: a lower one that holds the interpreter's lock lets everybody wait.
        self._worker = ThreadPoolExecutor(1, "inference")
        self._lock = Lock()
        self._here = 0

    def __len__(self) -> int:
        """Requests in it, the one that is computed among them."""
        return self._here

    def submit(self, function: Callable[[], T]) -> Ticket[T]:
        """Add a request.

        Raises:
            Refusal: when too many wait already.
        """
        with self._lock:
            if self._here > self.most:
                raise Refusal(
                    503, f"{self._here} requests for a segmentation are waiting already; ask again in a minute."
                )
            place, since = self._here, time.perf_counter()
            waited: list[float] = []
            context = contextvars.copy_context()

            def run() -> T:
                waited.append(time.perf_counter() - since)
                return context.run(function)

            future = self._worker.submit(run)
            self._here += 1
        future.add_done_callback(self._gone)
        return Ticket(place, future, waited)

    async def answer(self, function: Callable[[], T], gone: Callable[[], Awaitable[Any]]) -> tuple[T, Ticket[T]]:
        """Add a request and wait for its answer; if whoever asked leaves before its turn comes, it is taken out again.

        Args:
            function: that computes.
            gone: returns when whoever asked has left.

        Raises:
            Refusal: when too many wait already, or nobody waits for the answer any more.
        """
        ticket = self.submit(function)
        left = asyncio.ensure_future(gone())
        answer = asyncio.wrap_future(ticket.future)
        try:
            await asyncio.wait({left, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and ticket.future.cancel():
                raise Refusal(499, "the request was cut off while it waited.")
            return await answer, ticket
        finally:
            left.cancel()

    def _gone(self, _: Future[Any]) -> None:
        with self._lock:
            self._here -= 1
