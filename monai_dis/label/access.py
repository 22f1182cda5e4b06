"""Who may ask: requests that were meant for this server, from its own pages, and with its token where it has one.

A page of another site can send a browser's requests here, under its own name for this machine's address (DNS rebinding) as well as
under ours. So the name that a request asks for must be one that the server was told, or the address at which it arrived; a browser
cannot be made to ask for another machine's address by a name that is not its own.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from monai_dis.errors import DisError
from monai_dis.label.incoming import Refusal, Scope, header

__all__ = ["Access", "NotAllowed", "current_reader", "read_token"]

#: Who sent the request at hand, as far as it says so; empty where it does not.
current_reader: ContextVar[str] = ContextVar("current_reader", default="")

_LOCAL = ("localhost", "127.0.0.1", "::1")
_SHORTEST_TOKEN = 16
_READER = re.compile(r"[^\x00-\x1f\x7f:]{1,100}")


class NotAllowed(Refusal):
    """A request without the token; a browser is told to ask for it."""

    def __init__(self) -> None:
        super().__init__(
            401, "this server asks for its token: send it as Authorization: Bearer TOKEN, or as a password."
        )


@dataclass(frozen=True)
class Access:
    """What a request must bring.

    Attributes:
        names: of the server, besides those of this machine for itself.
        token: the secret that every request carries; None where anybody who reaches the server may ask.
    """

    names: Sequence[str] = ()
    token: str | None = field(default=None, repr=False)

    def check(self, scope: Scope, *, open_to_all: bool = False) -> str:
        """Refuse what was not meant for this server, or may not ask.

        Args:
            scope: of the request.
            open_to_all: for what a client needs to know before it has the token.

        Returns:
            the name of whoever asks; empty where it is not said.

        Raises:
            Refusal: with the reason.
        """
        host, origin = header(scope, b"host"), header(scope, b"origin")
        if not self._is_called(host, scope):
            raise Refusal(
                421,
                "this server is not known under the name that was asked for; use its address, or start it with --name NAME.",
            )
        if origin and (urlsplit(origin).netloc or None) != host:
            raise Refusal(403, "requests from pages of other sites are refused; open the viewer from this server.")
        if self.token is None or open_to_all:
            return ""
        return self._reader(header(scope, b"authorization"))

    def issued(self, reader: str, password: str) -> str | None:
        """What a client is to send as its bearer token, once somebody gave a name and the token as password; None if it is wrong."""
        if self.token is None or not _same(password, self.token) or not _READER.fullmatch(reader):
            return None
        return f"{reader}:{self.token}"

    def _is_called(self, host: str, scope: Scope) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name = (parts.hostname or "").rstrip(".").lower()
            _ = parts.port  # a ValueError where it is none
        except ValueError:
            return False
        if name in _LOCAL or name in {each.lower() for each in self.names}:
            return True
        here = (scope.get("server") or ("",))[0]
        try:
            return ipaddress.ip_address(name) == ipaddress.ip_address(here)
        except ValueError:
            return False

    def _reader(self, sent: str) -> str:
        kind, _, value = sent.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise NotAllowed from None
        elif kind.lower() != "bearer":
            raise NotAllowed
        reader, _, secret = value.strip().rpartition(":")
        assert self.token is not None
        if not _same(secret, self.token):
            raise NotAllowed
        return reader if _READER.fullmatch(reader) else ""


def read_token(file: Path) -> str:
    """The token in a file: its first line.

    Raises:
        DisError: when the file cannot be read, or the token is too short or cannot be sent.
    """
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DisError(
            f"the token file {file} cannot be read; give a text file with the token in its first line."
        ) from error
    token = lines[0].strip() if lines else ""
    if len(token) < _SHORTEST_TOKEN or not re.fullmatch(r"[!-9;-~]+", token):
        raise DisError(
            f"the token in {file} must have at least {_SHORTEST_TOKEN} letters and digits in its first line, without spaces and "
            "colons; make one with `openssl rand -hex 32`."
        )
    return token


def _same(given: str, token: str) -> bool:
    """Compared in a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(), token.encode())
