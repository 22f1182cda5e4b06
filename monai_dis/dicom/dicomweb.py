"""An archive as a DICOMweb peer: QIDO to find, WADO to fetch, STOW to store, by dicomweb-client (PS3.18).

Addresses and answers may hold a person's data or credentials: messages quote status codes and reasons alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from monai_dis.dicom.delivery import Delivery, describe_reason
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.instance import Instance, open_data_set
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.retry import Retry
from monai_dis.dicom.structure import StructureError
from monai_dis.dicom.writing import write_object
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["TOKEN_VARIABLE", "Fetched", "Query", "Server", "fetch_instances", "store_instances"]

#: Environment variable with a bearer token; a token on the command line would stand in the list of processes.
TOKEN_VARIABLE = "MONAI_DIS_DICOMWEB_TOKEN"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_MOST_INSTANCES = 100_000
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_CONNECTION = "no connection"

Answer = TypeVar("Answer")


class _Refused(Exception):
    """An answer that further attempts will not change, or that did not come in all of them."""

    def __init__(self, status: str, attempts: int) -> None:
        super().__init__(status)
        self.status = status
        self.attempts = attempts


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
        try:
            client = web.DICOMwebClient(
                url=self.url,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                callback=_without_parameters,
                session=_session(self.timeout_s),
            )
        except (ValueError, TypeError):
            raise DicomError("the address of the server is none; give one such as https://pacs/dicom-web.") from None
        client.set_http_retry_params(retry=False)  # connections that fail are tried again here too, and it does not
        return client


@dataclass(frozen=True)
class Query:
    """What is fetched.

    Attributes:
        study: Study Instance UID; empty to search by filters.
        series: Series Instance UID; empty for all series of a study.
        modality: of the series; empty for any.
        filters: values of studies by keyword, such as ``{"AccessionNumber": "77"}``.
        most: studies at most.
    """

    study: str = ""
    series: str = ""
    modality: str = ""
    filters: Mapping[str, str] = field(default_factory=dict, repr=False)
    most: int = 100


@dataclass(frozen=True)
class Fetched:
    """What became of one instance of a query.

    Attributes:
        uid: SOP Instance UID.
        path: where it lies; None when it could not be fetched.
        status: in words.
    """

    uid: str
    path: Path | None
    status: str


def fetch_instances(server: Server, query: Query, folder: Path) -> Iterator[Fetched]:
    """Fetch instances one by one, each to ``folder/<study>/<series>/<instance>.dcm``; those that lie there are kept.

    Args:
        server: where from.
        query: what.
        folder: where to; made when missing.

    Yields:
        what became of each instance.

    Raises:
        DicomError: when the query names neither a study nor a filter, or the server does not answer it.
    """
    if not query.study and not query.filters:
        raise DicomError("a whole archive is not fetched; name a study, or give a filter such as AccessionNumber=77.")
    client = server.client()
    for study in [query.study] if query.study else _found_studies(client, server, query):
        _check_uid(study)
        for series in _found_series(client, server, study, query):
            _check_uid(series)
            for uid in _found_instances(client, server, study, series):
                yield _fetch_one(client, server, (study, series, uid), folder)


def store_instances(server: Server, instances: Sequence[Instance], limits: Limits) -> Iterator[Delivery]:
    """Store instances one by one, so that a failure concerns one and is tried again for it alone.

    Args:
        server: where to.
        instances: in the order of sending.
        limits: the same as when they were found.

    Yields:
        what became of each. An instance counts as stored when the answer names it among those that were, or, where the answer
        names nothing, when the server then finds it.
    """
    client = server.client()
    for instance in instances:
        delivery = _store_one(client, server, instance, limits)
        yield delivery
        # A server that was not there for one instance is not waited for again for each of the others.
        server = replace(server, retry=Retry(attempts=1)) if delivery.status == _NO_CONNECTION else server


def _session(timeout_s: float) -> Any:
    """A session that does not wait for ever: before 0.61 dicomweb-client sets no limit, and later ones 20 seconds."""
    requests = require("requests")

    class Timed(requests.adapters.HTTPAdapter):  # type: ignore[misc,name-defined]
        def send(self, *arguments: Any, **options: Any) -> Any:
            return super().send(*arguments, **{**options, "timeout": timeout_s})

    session = requests.Session()
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


def _attempt(retry: Retry, action: Callable[[], Answer]) -> tuple[Answer, int]:
    """Try a request; returns its answer and the number of attempts.

    Raises:
        _Refused: when the server refuses, or did not answer in all attempts.
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
                raise _Refused(status + _reasons_in(error.response), number) from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            status = "no answer in time" if isinstance(error, requests.Timeout) else _NO_CONNECTION
        except Exception as error:  # whatever a strange answer leads to, its text may quote it
            status = f"an answer that cannot be read ({type(error).__name__})"
    raise _Refused(status, number)


def _reasons_in(response: Any) -> str:
    """Failure reasons in the body of an answer such as 409."""
    try:
        failed = require("pydicom").Dataset.from_json(response.json()).get("FailedSOPSequence") or []
        return "".join(f", {describe_reason(int(item.FailureReason))}" for item in failed[:1])
    except Exception:
        return ""


def _asked(server: Server, action: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return _attempt(server.retry, action)[0]
    except _Refused as error:
        raise DicomError(
            f"the server does not answer the query ({error.status}); check its address and yours."
        ) from None


def _found_studies(client: Any, server: Server, query: Query) -> list[str]:
    filters = dict(query.filters)
    if query.modality:
        filters["ModalitiesInStudy"] = query.modality
    found = _values(_asked(server, lambda: client.search_for_studies(
        search_filters=filters, limit=query.most + 1)), "0020000D")  # fmt: skip
    if len(found) > query.most:
        raise DicomError(f"more than {query.most} studies fit; narrow the filter or raise --most.")
    return found


def _found_series(client: Any, server: Server, study: str, query: Query) -> list[str]:
    wanted = {"Modality": query.modality, "SeriesInstanceUID": query.series}
    filters = {keyword: value for keyword, value in wanted.items() if value}
    search = partial(client.search_for_series, study_instance_uid=study, search_filters=filters)
    return _all_pages(server, search, "0020000E")


def _found_instances(client: Any, server: Server, study: str, series: str) -> list[str]:
    search = partial(client.search_for_instances, study_instance_uid=study, series_instance_uid=series)
    return _all_pages(server, search, "00080018")


def _all_pages(server: Server, search: Callable[..., list[dict[str, Any]]], tag: str) -> list[str]:
    """Values of a UID over all pages of an answer; a server that gives the same page for ever does not keep us for ever."""
    found: set[str] = set()
    while True:
        page = _values(_asked(server, partial(search, offset=len(found) or None)), tag)
        if found.issuperset(page):
            return sorted(found)
        found.update(page)
        if len(found) > _MOST_INSTANCES:
            raise DicomError(f"the server lists more than {_MOST_INSTANCES} objects; narrow the query.")


def _values(found: Sequence[Mapping[str, Any]], tag: str) -> list[str]:
    """Values of a UID in an answer to a query, each once, in the order of their text."""
    values = {str((item.get(tag, {}).get("Value") or [""])[0]) for item in found}
    return sorted(values - {""})


def _check_uid(uid: str) -> None:
    """What a server sends becomes the name of a folder: nothing but digits and dots may."""
    if len(uid) > _LONGEST_UID or not _UID.fullmatch(uid):
        raise DicomError("a UID is none: it may hold digits and single dots only, 64 characters at most.")


def _fetch_one(client: Any, server: Server, uids: tuple[str, str, str], folder: Path) -> Fetched:
    study, series, uid = uids
    try:
        _check_uid(uid)
    except DicomError as error:
        return Fetched("", None, str(error))
    path = folder / study / series / f"{uid}.dcm"
    if path.is_file():
        return Fetched(uid, path, "kept")
    try:
        data: Dataset
        data, _ = _attempt(server.retry, lambda: client.retrieve_instance(study, series, uid))
    except _Refused as error:
        return Fetched(uid, None, error.status)
    with discreet():
        if str(data.get("SOPInstanceUID", "")) != uid:
            return Fetched(uid, None, "the server sent another instance")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_object(data, path)
    return Fetched(uid, path, "fetched")


def _store_one(client: Any, server: Server, instance: Instance, limits: Limits) -> Delivery:
    def failed(status: str, attempts: int) -> Delivery:
        return Delivery(instance.path, instance.uid, False, status, attempts)

    try:
        data = _as_file(open_data_set(instance, limits), instance)
    except StructureError as error:
        return failed(error.code, 0)
    status, number = "not tried", 0
    for number in server.retry:
        try:
            answer, _ = _attempt(Retry(attempts=1), lambda: client.store_instances([data]))
        except _Refused as error:
            status = error.status
            code = re.match(r"HTTP status (\d+)", status)
            if code and int(code[1]) not in _TRANSIENT:
                return failed(status, number)
            continue
        stored, status = _read_answer(answer, instance.uid)
        if stored is None:
            stored = _is_found(client, server, instance)
            status = "stored" if stored else "the server says nothing of it, and does not find it"
        if stored:
            return Delivery(instance.path, instance.uid, True, status, number)
    return failed(status, number)


def _as_file(data: Dataset, instance: Instance) -> Dataset:
    """A data set with all that a file has, which a server stores as it comes (PS3.10 section 7.1)."""
    meta: Any = require("pydicom.dataset").FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom writes the right number where there is one
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = instance.sop_class, instance.uid
    meta.TransferSyntaxUID = require("pydicom.uid").UID(instance.syntax)
    meta.ImplementationClassUID = require("pydicom.uid").PYDICOM_IMPLEMENTATION_UID
    data.file_meta, data.preamble = meta, b"\0" * 128
    return data


def _read_answer(answer: Any, uid: str) -> tuple[bool | None, str]:
    """Whether an instance was stored, by an answer with status 200 or 202; None when it is not named (PS3.18 table I.1-1)."""
    with discreet():
        for item in answer.get("FailedSOPSequence") or []:
            if str(item.get("ReferencedSOPInstanceUID", uid)) == uid:
                return False, describe_reason(int(item.get("FailureReason") or 0))
        if answer.get("OtherFailuresSequence"):
            reason = int(answer.OtherFailuresSequence[0].get("FailureReason") or 0)
            return False, describe_reason(reason)
        for item in answer.get("ReferencedSOPSequence") or []:
            if str(item.get("ReferencedSOPInstanceUID", "")) == uid:
                warned = item.get("WarningReason")
                return True, "stored" if not warned else f"stored with warning {int(warned):04X}"
    return None, ""


def _is_found(client: Any, server: Server, instance: Instance) -> bool:
    try:
        found, _ = _attempt(server.retry, lambda: client.search_for_instances(
            search_filters={"SOPInstanceUID": instance.uid}))  # fmt: skip
    except _Refused:
        return False
    return instance.uid in _values(found, "00080018")
