"""What stands before the server's endpoints: only the requests that are known, checked against a schema, and of bounded size.

MONAI Label's endpoints trust their parameters: an image may be any path, a tag any folder, a parameter any setting of a task. Here each
address has a check (`monai_dis.label.endpoints`); what has none is not offered. A refusal is a 4xx with a sentence. Nothing that blocks
runs in the request loop: checks and endpoints have threads, networks have a queue.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from monai_dis.errors import DisError
from monai_dis.label.access import Access, NotAllowed, current_reader
from monai_dis.label.beside import answer_beside, in_thread
from monai_dis.label.endpoints import Desk, Route, query_of, route_of
from monai_dis.label.incoming import Incoming, Receive, Refusal, Scope, read_body, replay, taken_apart
from monai_dis.label.inference import Inference, answered, reply
from monai_dis.label.inference_queue import InferenceQueue
from monai_dis.label.outgoing import Outgoing, Reply, Send, json_reply, without_places

__all__ = ["Guard", "SizeLimits", "Web", "install", "sentence_for"]

logger = logging.getLogger(__name__)

_MEBIBYTE = 1 << 20
_THREADS = 24
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AUTH = ("auth", "token")


@dataclass(frozen=True)
class SizeLimits:
    """Sizes beyond which a request is refused with 413.

    Attributes:
        upload_bytes: of a request that uploads an image or a label.
        json_bytes: of any other request.
    """

    upload_bytes: int = 1024 * _MEBIBYTE
    json_bytes: int = _MEBIBYTE


@dataclass(frozen=True)
class Web:
    """What the guard does itself, besides refusing.

    Attributes:
        access: who may ask.
        queue: of requests for a segmentation.
        compute: answers one.
        own: answers the routes that are not MONAI Label's.
        places: folders of this machine, which no answer tells.
    """

    access: Access
    queue: InferenceQueue
    compute: Callable[[Inference], tuple[Path, dict[str, Any]]]
    own: Callable[[str, Incoming], Reply]
    places: tuple[str, ...] = ()


class Guard:
    """An ASGI application that refuses, answers or passes on.

    Args:
        app: what answers.
        desk: what the server has.
        web: what is answered here.
        limits: on sizes.
    """

    def __init__(self, app: Any, desk: Desk, web: Web, limits: SizeLimits | None = None) -> None:
        self.app = app
        self.desk = desk
        self.web = web
        self.limits = limits or SizeLimits()
        self._threads = ThreadPoolExecutor(_THREADS, "request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        outgoing = Outgoing(send, self.web.places, str(scope["path"]).startswith("/proxy/"))
        try:
            await self._answer(scope, receive, outgoing)
        except Exception as error:
            if not outgoing.started:
                await self._refuse(error, Outgoing(send, self.web.places))
            elif not isinstance(error, OSError):
                logger.error("%s while a request was answered", type(error).__name__)

    async def _answer(self, scope: Scope, receive: Receive, send: Outgoing) -> None:
        route, groups = _routed(scope)
        reader = self.web.access.check(scope, open_to_all=route is not None and route.own in _AUTH)
        if route is None:
            route, groups = route_of(scope)  # says why there is none
        current_reader.set(reader)
        query = query_of(scope, route)
        limit = self.limits.upload_bytes if route.upload else self.limits.json_bytes
        with await read_body(scope, receive, limit) as body:
            request = await taken_apart(scope, groups, query, body, plain=route.query == "*")
            try:
                if route.own == "infer":
                    await in_thread(self._threads, route.check, request, self.desk)
                    answer = await self._inferred(request, receive)
                elif route.own:
                    answer = await in_thread(self._threads, self._own, route, request)
                else:
                    passed_on = partial(self._checked, route, request, scope, body, receive)
                    await answer_beside(self.app, passed_on, send, self._threads)
                    return
            finally:
                request.close()
        await answer.send(send)

    def _own(self, route: Route, request: Incoming) -> Reply:
        """Check a request and answer it here."""
        route.check(request, self.desk)
        return self.web.own(route.own, request)

    def _checked(
        self, route: Route, request: Incoming, scope: Scope, body: Any, receive: Receive
    ) -> tuple[Scope, Receive]:
        """Check a request, and give what is to be passed on."""
        content = route.check(request, self.desk)
        if content is not None:  # what was checked, and no more
            body = BytesIO(json.dumps(content).encode())
            scope = _with_length(scope, len(body.getvalue()))
        return scope, replay(body, receive)

    async def _inferred(self, request: Incoming, receive: Receive) -> Reply:
        """The answer of a network, which waits in the queue."""

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        def compute() -> tuple[Path, dict[str, Any]]:
            return answered(request, self.desk.models, self.web.compute)

        (file, about), ticket = await self.web.queue.answer(compute, gone)
        said = {**about, "queue": ticket.about()}
        return await in_thread(self._threads, reply, file, said, request.query.get("output", ""))

    async def _refuse(self, error: Exception, send: Outgoing) -> None:
        status, sentence = sentence_for(error)
        if status == 500:
            logger.error("%s while a request was answered", type(error).__name__)
        headers = [(b"connection", b"close")]
        if isinstance(error, NotAllowed):
            headers.append((b"www-authenticate", b'Basic realm="monai-dis"'))
        if status == 503:
            headers.append((b"retry-after", b"60"))
        await json_reply({"detail": without_places(sentence, self.web.places)}, status, *headers).send(send)


def install(app: Any, desk: Desk, web: Web, limits: SizeLimits | None = None) -> None:
    """Put the guard before a running FastAPI application, and let it answer our errors with their sentence.

    Args:
        app: ``monailabel.app.app``, whose middleware is built already when an app of MONAI Label is loaded.
        desk: what the server has.
        web: what is answered here.
        limits: on sizes.
    """
    from starlette.responses import JSONResponse

    def told(_: Any, error: Exception) -> Any:
        status, sentence = sentence_for(error)
        return JSONResponse({"detail": sentence}, status)

    for kind in (DisError, OSError, Refusal):
        app.add_exception_handler(kind, told)
    inner = app.build_middleware_stack()
    app.middleware_stack = Guard(inner, desk, web, limits)


def sentence_for(error: Exception) -> tuple[int, str]:
    """Status and sentence for an error that came up while a request was answered.

    Example:
        >>> sentence_for(DisError("the budget must be a number."))
        (422, 'the budget must be a number.')
    """
    if isinstance(error, Refusal):
        return error.status, error.sentence
    if _is_full(error):
        return 507, "the disk of the server is full; nothing was changed: make room and send it again."
    if isinstance(error, DisError):
        return 422, str(error)
    if type(error).__module__.split(".")[0] in ("requests", "urllib3", "dicomweb_client"):
        return 502, "the archive of the images does not answer, or refuses; see whether it runs, and ask again."
    return 500, ""


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def _routed(scope: Scope) -> tuple[Route | None, dict[str, str]]:
    """The route of a request; None where there is none, which is told to those alone who may ask."""
    try:
        return route_of(scope)
    except Refusal:
        return None, {}


def _with_length(scope: Scope, length: int) -> Scope:
    """The head of a request whose body is JSON of another length."""
    changed = (b"content-length", b"content-type", b"transfer-encoding")
    headers = [each for each in scope["headers"] if bytes(each[0]).lower() not in changed]
    headers += [(b"content-length", str(length).encode()), (b"content-type", b"application/json")]
    return {**scope, "headers": headers}
