"""Answers as they go out: nothing is loaded from elsewhere, no place of this machine is told, and no failure goes without a sentence."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Outgoing", "Reply", "Send", "file_reply", "json_reply", "places_of", "without_places"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PIECE = 4 << 20
#: A page may load from this server and from nowhere else; the viewer makes workers and images in the browser itself.
_POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
_ELSEWHERE = re.compile(r"<link[^>]*href=[\"']?(https?:)?//[^>]*>", re.IGNORECASE)
#: Headers of MONAI Label's that open answers to pages of other sites.
_DROPPED = (b"access-control-allow-origin", b"access-control-allow-credentials")
#: The folders of any path, in text of other programs such as a log.
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/'\"<>]+/)+")
_FAILED = "the server could not answer: an error of the program, which its log names; tell whoever runs the server."


@dataclass(frozen=True)
class Reply:
    """An answer that is given here and not by MONAI Label.

    Attributes:
        body: what is sent.
        kind: its content type.
        status: of HTTP.
        headers: besides type and length.
        file: what is sent in place of the body.
    """

    body: bytes
    kind: str = "application/json"
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    file: Path | None = None

    async def send(self, send: Send) -> None:
        """Send it; a file in large pieces, read beside the request loop."""
        length = len(self.body) if self.file is None else self.file.stat().st_size
        headers = [(b"content-type", self.kind.encode()), (b"content-length", str(length).encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.file is not None:
            with self.file.open("rb") as content:
                while piece := await asyncio.to_thread(content.read, _PIECE):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self.body})


def file_reply(file: Path) -> Reply:
    """An answer that is a file, under its name; a small one is read at once."""
    named = f"attachment; filename*=utf-8''{quote(file.name)}"
    small = file.stat().st_size <= _PIECE
    body = file.read_bytes() if small else b""
    headers = ((b"content-disposition", named.encode()),)
    return Reply(body, "application/octet-stream", headers=headers, file=None if small else file)


def json_reply(content: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """An answer in JSON."""
    return Reply(json.dumps(content).encode(), status=status, headers=headers)


@dataclass
class Outgoing:
    """Passes an answer on to the connection.

    Attributes:
        send: of the connection.
        places: folders of this machine, which are cut off from paths.
        passed_on: the answer is an archive's, and stays as it is.
    """

    send: Send
    places: Iterable[str] = ()
    passed_on: bool = False
    started: bool = False
    _start: MutableMapping[str, Any] | None = field(default=None, repr=False)
    _body: bytearray = field(default_factory=bytearray, repr=False)

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Pass on one message of ASGI."""
        self.started = True
        if message["type"] == "http.response.start":
            headers = [each for each in message.get("headers", ()) if bytes(each[0]).lower() not in _DROPPED]
            message = {**message, "headers": [*headers, *_HEADERS]}
            if not self.passed_on and (_kind(message) in _TEXTS or message["status"] >= 400):
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            await self._finish(self._start)
            return
        await self.send(message)

    async def _finish(self, start: MutableMapping[str, Any]) -> None:
        body, kind = bytes(self._body), _kind(start)
        if start["status"] >= 400:
            body, kind = json.dumps({"detail": _sentence(body, start["status"])}).encode(), "application/json"
        if kind == "text/html":
            body = _ELSEWHERE.sub("", body.decode(errors="replace")).encode()
        elif kind == "application/json":
            body = _json_without(body, self.places)
        else:
            body = _FOLDERS.sub("", body.decode(errors="replace")).encode()
        dropped = (b"content-length", b"content-type") if start["status"] >= 400 else (b"content-length",)
        headers = [each for each in start["headers"] if bytes(each[0]).lower() not in dropped]
        if start["status"] >= 400:
            headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({**start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


_TEXTS = ("application/json", "text/html", "text/plain")


def without_places(text: str, places: Iterable[str]) -> str:
    """Text without the folders of this machine.

    Example:
        >>> without_places("/data/studies/eye.png is damaged", ["/data", "/data/studies"])
        'eye.png is damaged'
    """
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(f"{place.rstrip('/')}/", "").replace(place, ".") if len(place) > 1 else text
    return text


def places_of(*folders: str | Path) -> list[str]:
    """Folders as they may stand in an answer: as they were given, and with their links followed."""
    return sorted({str(form) for folder in folders for form in (Path(folder), Path(folder).resolve())})


def _json_without(body: bytes, places: Iterable[str]) -> bytes:
    try:
        content = json.loads(body)
    except ValueError:
        return body
    known = list(places)

    def walked(value: Any) -> Any:
        if isinstance(value, str):
            return without_places(value, known)
        if isinstance(value, list):
            return [walked(each) for each in value]
        if isinstance(value, dict):
            return {key: walked(each) for key, each in value.items()}
        return value

    return json.dumps(walked(content)).encode()


def _sentence(body: bytes, status: int) -> str:
    """What the answer says, as one sentence."""
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = ", ".join(str(part) for part in detail[0].get("loc", ())[1:])[:80]
        return f"the request cannot be understood ({where}: {str(detail[0].get('msg', ''))[:120]})."
    if isinstance(detail, str) and detail and status != 500:
        return detail
    return _FAILED if status >= 500 else "the request cannot be answered; there is no such thing here."


def _kind(start: MutableMapping[str, Any]) -> str:
    for key, value in start["headers"]:
        if bytes(key).lower() == b"content-type":
            return bytes(value).decode("latin-1").partition(";")[0].strip().lower()
    return ""
