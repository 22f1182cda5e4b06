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


async def in_thread(executor: Executor, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function that blocks, in a thread and in the context of the request."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, function, *arguments)


async def answer_beside(app: Any, scope: Scope, receive: Receive, send: Any, executor: Executor) -> None:
    """Let an ASGI application answer in a thread with a loop of its own; its messages are passed on in order.

    Args:
        app: what answers.
        scope: of the request.
        receive: gives the body; it is read in the thread, so it must be there already.
        send: of the connection.
        executor: of the threads.
    """
    loop = asyncio.get_running_loop()

    async def passed_on(message: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(send(message), loop))

    def answer() -> None:
        asyncio.run(app(scope, receive, passed_on))

    await in_thread(executor, answer)
