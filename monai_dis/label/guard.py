"""What stands before the server's endpoints: only the requests that are known, checked against a schema, and of bounded size.

MONAI Label's endpoints trust their parameters: an image may be any path, a tag any folder, a parameter any setting of a task. Here each
address has a check (`monai_dis.label.endpoints`); what has none is not offered. A refusal is a 4xx with a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from monai_dis.errors import DisError
from monai_dis.label.desk import wanted_output
from monai_dis.label.endpoints import Desk, query_of, route_of
from monai_dis.label.incoming import Receive, Refusal, Scope, check_origin, read_body, replay, taken_apart
from monai_dis.label.request import RequestError

__all__ = ["Guard", "SizeLimits", "install", "sentence_for"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class SizeLimits:
    """Sizes beyond which a request is refused with 413.

    Attributes:
        upload_bytes: of a request that uploads an image or a label.
        json_bytes: of any other request.
    """

    upload_bytes: int = 1024 * _MEBIBYTE
    json_bytes: int = _MEBIBYTE


class Guard:
    """An ASGI application that refuses or passes on.

    Args:
        app: what answers.
        desk: what the server has.
        limits: on sizes.
    """

    def __init__(self, app: Any, desk: Desk, limits: SizeLimits | None = None) -> None:
        self.app = app
        self.desk = desk
        self.limits = limits or SizeLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        spool: Any = None
        try:
            check_origin(scope)
            route, groups = route_of(scope)
            query = query_of(scope, route)
            limit = self.limits.upload_bytes if route.upload else self.limits.json_bytes
            spool = await read_body(scope, receive, limit)
            request = await taken_apart(scope, groups, query, spool, plain=route.query == "*")
            route.check(request, self.desk)
        except Refusal as refusal:
            await _answer(send, refusal.status, refusal.sentence)
            if spool is not None:
                spool.close()
            return
        except RequestError as error:
            await _answer(send, 422, str(error))
            if spool is not None:
                spool.close()
            return
        wanted_output.set(query.get("output", ""))
        if query.get("output") == "dicom_seg":
            # The endpoint would write it with another program; the task writes it, and the endpoint hands out its file.
            scope = {
                **scope,
                "query_string": bytes(scope["query_string"]).replace(b"output=dicom_seg", b"output=image"),
            }
        with spool:
            await self.app(scope, replay(spool, receive), send)


def install(app: Any, desk: Desk, limits: SizeLimits | None = None) -> None:
    """Put the guard before a running FastAPI application, and let it answer our errors with their sentence.

    Args:
        app: ``monailabel.app.app``, whose middleware is built already when an app of MONAI Label is loaded.
        desk: what the server has.
        limits: on sizes.
    """
    from starlette.responses import JSONResponse

    def told(_: Any, error: Exception) -> Any:
        status, sentence = sentence_for(error)
        return JSONResponse({"detail": sentence}, status)

    app.add_exception_handler(DisError, told)
    inner = app.build_middleware_stack()
    app.middleware_stack = Guard(inner, desk, limits)


def sentence_for(error: Exception) -> tuple[int, str]:
    """Status and sentence for an error of ours that came up while a request was answered.

    Example:
        >>> sentence_for(RequestError("the budget must be a number."))
        (422, 'the budget must be a number.')
    """
    return 422, str(error)


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
