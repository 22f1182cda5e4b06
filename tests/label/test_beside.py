"""Answers of MONAI Label beside the request loop: they go from thread to loop in few steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from monai_dis.label.beside import answer_beside

START = {"type": "http.response.start", "status": 200, "headers": []}


def body(content: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def sent_by(app: Callable[..., Any], on_message: Callable[[], None] = lambda: None) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        on_message()

    async def run() -> None:
        with ThreadPoolExecutor(1) as threads:
            await answer_beside(app, lambda: ({"type": "http"}, nothing), send, threads)

    async def nothing() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(run())
    return sent


def test_the_messages_of_an_answer_come_in_order() -> None:
    messages = [START, body(b"a", True), body(b"b", True), body(b"", False)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    assert sent_by(app) == messages


def test_an_answer_that_fails_half_way_was_not_begun() -> None:
    """So that the reader gets a sentence in its place."""
    begun: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        sent_by(app, lambda: begun.append(True))
    assert begun == []


def test_a_long_answer_is_passed_on_while_it_is_made() -> None:
    arrived = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(bytes(2 << 20), True))
        assert arrived.wait(30)
        await send(body(b"", False))

    assert [len(each.get("body", b"")) for each in sent_by(app, arrived.set)] == [0, 2 << 20, 0]
