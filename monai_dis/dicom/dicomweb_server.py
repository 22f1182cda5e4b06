"""A DICOMweb server: its client, and requests that are tried again (PS3.18), by dicomweb-client.

Addresses and answers may hold a person's data or credentials: messages quote status codes and reasons alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from monai_dis.dicom.delivery import describe_reason
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.retry import Retry
from monai_dis.errors import DicomError

__all__ = ["NO_CONNECTION", "TOKEN_VARIABLE", "Refused", "Server", "attempt", "values_of"]

#: Environment variable with a bearer token; a token on the command line would stand in the list of processes.
TOKEN_VARIABLE = "MONAI_DIS_DICOMWEB_TOKEN"
#: Status of a request that reached nobody.
NO_CONNECTION = "no connection"
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

Answer = TypeVar("Answer")


class Refused(Exception):
    """An answer that further attempts will not change, or that did not come in all of them.

    Attributes:
        status: in words.
        attempts: how many there were.
        final: whether the server said so itself, so that the same request need not be sent again.
    """

    def __init__(self, status: str, attempts: int, *, final: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.attempts = attempts
        self.final = final


@dataclass(frozen=True)
class Server:
    """A DICOMweb server.

    Attributes:
        url: root of its services, such as ``https://pacs/dicom-web``.
        retry: how often a request is tried.
        timeout_s: for an answer to begin.
    """

    url: str = field(repr=False)
    retry: Retry = field(default_factory=Retry)
    timeout_s: float = 60.0

    def client(self) -> Any:
        """Open a client.

        Raises:
            DicomError: when the address is none, or dicomweb-client is not installed.
        """
        web = require("dicomweb_client.web")
        token = os.environ.get(TOKEN_VARIABLE)
        address, login = _without_login(self.url)
        try:
            client = web.DICOMwebClient(
                url=address,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                callback=_without_parameters,
                session=_session(self.timeout_s, login),
            )
        except (ValueError, TypeError):
            raise DicomError("the address of the server is none; give one such as https://pacs/dicom-web.") from None
        client.set_http_retry_params(retry=False)  # connections that fail are tried again here too, and it does not
        return client


def attempt(retry: Retry, action: Callable[[], Answer]) -> tuple[Answer, int]:
    """Try a request; returns its answer and the number of attempts.

    Raises:
        Refused: when the server refuses, or did not answer in all attempts.
    """
    requests = require("requests")
    status, number = "not tried", 0
    for number in retry:
        try:
            with discreet():
                return action(), number
        except requests.HTTPError as error:
            code = 0 if error.response is None else int(error.response.status_code)
            status = f"HTTP status {code}"
            if code not in _TRANSIENT:
                raise Refused(status + _reasons_in(error.response), number, final=True) from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            status = "no answer in time" if isinstance(error, requests.Timeout) else NO_CONNECTION
        except Exception as error:  # whatever a strange answer leads to, its text may quote it
            status = f"an answer that cannot be read ({type(error).__name__})"
    raise Refused(status, number)


def values_of(found: Sequence[Mapping[str, Any]], tag: str) -> list[str]:
    """Values of a UID in an answer to a query, each once, in the order of their text."""
    values = {str((item.get(tag, {}).get("Value") or [""])[0]) for item in found}
    return sorted(values - {""})


def _without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without user and password, and these: dicomweb-client would take them for a host and a port."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), (
        unquote(parts.username),
        unquote(parts.password or ""),
    )


def _session(timeout_s: float, login: tuple[str, str] | None) -> Any:
    """A session that does not wait for ever: before 0.61 dicomweb-client sets no limit, and later ones 20 seconds."""
    requests = require("requests")

    class Timed(requests.adapters.HTTPAdapter):  # type: ignore[misc,name-defined]
        def send(self, *arguments: Any, **options: Any) -> Any:
            return super().send(*arguments, **{**options, "timeout": timeout_s})

    session = requests.Session()
    session.auth = login
    for scheme in ("http://", "https://"):
        session.mount(scheme, Timed())
    return session


def _without_parameters(response: Any, *_: Any, **__: Any) -> Any:
    """Drop ``; charset=...`` behind types that dicomweb-client compares as a whole: it would take a list of failures for nothing."""
    kind = response.headers.get("Content-Type", "")
    base = kind.partition(";")[0].strip().lower()
    if base in ("application/dicom+json", "application/json", "application/dicom+xml", "application/xml"):
        response.headers["Content-Type"] = base
    return response


def _reasons_in(response: Any) -> str:
    """Failure reasons in the body of an answer such as 409."""
    try:
        failed = require("pydicom").Dataset.from_json(response.json()).get("FailedSOPSequence") or []
        return "".join(f", {describe_reason(int(item.FailureReason))}" for item in failed[:1])
    except Exception:
        return ""
