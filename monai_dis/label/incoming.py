"""A request as it comes in: bounded, and taken apart into what its check reads.

Speaks ASGI alone; starlette parses forms.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any

from monai_dis.label.request import RequestError

__all__ = ["Incoming", "Receive", "Refusal", "Scope", "header", "read_body", "replay", "taken_apart"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_MEBIBYTE = 1 << 20


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP, 4xx.
        sentence: that tells the client what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Incoming:
    """A request taken apart.

    Attributes:
        path: values of the route's groups.
        query: by key.
        form: text fields of a multipart form.
        files: names of its files, by field.
        content: of a JSON body; None when there is none.
        uploads: the files themselves, by field, the first of each; open until the request is answered.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    content: Any = None
    uploads: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def has_file(self, name: str) -> bool:
        """Whether a file was sent in a field of the form."""
        return any(key == name for key, _ in self.files)

    def close(self) -> None:
        """Let go of the uploaded files."""
        for upload in self.uploads.values():
            upload.file.close()


async def read_body(scope: Scope, receive: Receive, limit: int) -> Any:
    """The body, in memory or on disk, never more than the limit."""
    announced = header(scope, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise Refusal(413, f"the request is larger than {limit} bytes; send less.")
    spool: Any = SpooledTemporaryFile(max_size=16 * _MEBIBYTE)  # noqa: SIM115
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            spool.close()
            raise Refusal(400, "the request was cut off.")
        chunk = message.get("body", b"")
        length += len(chunk)
        if length > limit:
            spool.close()
            raise Refusal(413, f"the request is larger than {limit} bytes; send less.")
        spool.write(chunk)
        if not message.get("more_body"):
            return spool


def replay(spool: Any, receive: Receive) -> Receive:
    """Give the body once more, from the start."""
    spool.seek(0)
    ended = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal ended
        if ended:
            return await receive()
        chunk = spool.read(_MEBIBYTE)
        ended = len(chunk) < _MEBIBYTE
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return again


async def taken_apart(
    scope: Scope, groups: Mapping[str, str], query: Mapping[str, str], spool: Any, *, plain: bool
) -> Incoming:
    """Read the body as its content type says; of a ``plain`` page it does not matter."""
    kind = header(scope, b"content-type").partition(";")[0].strip().lower()
    empty = spool.tell() == 0
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded") and not empty:
        from starlette.exceptions import HTTPException
        from starlette.requests import Request

        try:
            form = await Request(scope, replay(spool, _nothing)).form(max_files=5000, max_fields=50)
        except (HTTPException, ValueError) as error:
            raise RequestError("the form cannot be read; send multipart/form-data.") from error
        fields = {key: value for key, value in form.multi_items() if isinstance(value, str)}
        sent = [(key, value) for key, value in form.multi_items() if not isinstance(value, str)]
        uploads: dict[str, Any] = {}
        for key, upload in sent:
            if uploads.setdefault(key, upload) is not upload:
                upload.file.close()
        files = tuple((key, upload.filename or "") for key, upload in sent)
        return Incoming(groups, query, fields, files, uploads=uploads)
    if empty or plain:
        return Incoming(groups, query)
    spool.seek(0)
    try:
        content = json.loads(spool.read())
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not valid JSON.") from error
    if content is not None and not isinstance(content, dict):
        raise RequestError("the body must be a JSON object.")
    return Incoming(groups, query, content=content)


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


def header(scope: Scope, name: bytes) -> str:
    """A field of the request's head, as text; empty where it is absent."""
    return next((bytes(value).decode("latin-1") for key, value in scope.get("headers", ()) if key == name), "")
