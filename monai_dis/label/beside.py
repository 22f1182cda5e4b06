"""Beside the request loop: MONAI Label's endpoints block the loop that they run in, so that each request gets a loop of its own.

An endpoint that reads an archive or copies a volume keeps one thread busy, and everybody else is answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from monai_dis.label.incoming import Receive, Scope

__all__ = ["answer_beside", "in_thread"]

T = TypeVar("T")

_HELD = 1 << 20  # bytes of an answer that are kept back until the rest is there


async def in_thread(executor: Executor, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function that blocks, in a thread and in the context of the request."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, function, *arguments)


async def answer_beside(app: Any, prepare: Callable[[], tuple[Scope, Receive]], send: Any, executor: Executor) -> None:
    """Let an ASGI application answer in a thread with a loop of its own; its messages are passed on in order.

    A short answer is passed on in one piece: on a busy machine each step from thread to thread waits for its turn on the processor.

    Args:
        app: what answers.
        prepare: called in the thread; gives the request, whose body must be there already.
        send: of the connection.
        executor: of the threads.
    """
    loop = asyncio.get_running_loop()
    held: list[Any] = []

    async def passed_on(messages: list[Any]) -> None:
        for message in messages:
            await send(message)

    async def take(message: Any) -> None:
        held.append(message)
        if sum(len(each.get("body", b"")) for each in held) >= _HELD:
            ready = held.copy()
            held.clear()
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(passed_on(ready), loop))

    def answer() -> None:
        scope, receive = prepare()
        asyncio.run(app(scope, receive, take))

    await in_thread(executor, answer)
    await passed_on(held)
