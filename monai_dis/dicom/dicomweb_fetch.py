"""Fetch instances from a DICOMweb server: QIDO to find them, WADO to get them (PS3.18)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_dis.dicom.dicomweb_server import Refused, Server, attempt, values_of
from monai_dis.dicom.extra import discreet
from monai_dis.dicom.retry import Retry
from monai_dis.dicom.writing import write_object
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Fetched", "Query", "fetch_instances", "fetch_series"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_MOST_INSTANCES = 100_000


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


def fetch_series(client: Any, retry: Retry, study: str, series: str, folder: Path) -> None:
    """Fetch a series into one folder, each instance as ``<uid>.dcm`` in the transfer syntax that the archive keeps it in.

    Instance by instance: asked for a whole series, archives transcode what they keep compressed, or fail to.

    Args:
        client: of dicomweb-client.
        retry: how often a request is tried.
        study: Study Instance UID; empty to let the archive find it.
        series: Series Instance UID.
        folder: where to; made when missing, and left without a part of a series.

    Raises:
        DicomError: when the archive lacks the series, or does not give an instance of it.
    """
    server = Server("", retry)
    if not study:
        search = partial(client.search_for_series, search_filters={"SeriesInstanceUID": series})
        study = next(iter(_all_pages(server, search, "0020000D")), "")
        if not study:
            raise DicomError("the archive does not hold the series; send it there first.")
    for uid in (study, series):
        _check_uid(uid)
    uids = _found_instances(client, server, study, series)
    if not uids:
        raise DicomError("the archive holds no images of the series; send them to it first.")
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=_made(folder.parent)) as part:
        for uid in uids:
            fetched = _fetch_one(client, server, (study, series, uid), Path(part))
            if fetched.path is None:
                raise DicomError(
                    f"the archive does not give an image of the series ({fetched.status}); try again later."
                )
        _made(folder)
        for path in (Path(part) / study / series).iterdir():
            path.replace(folder / path.name)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _asked(server: Server, action: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return attempt(server.retry, action)[0]
    except Refused as error:
        raise DicomError(
            f"the server does not answer the query ({error.status}); check its address and yours."
        ) from None


def _found_studies(client: Any, server: Server, query: Query) -> list[str]:
    filters = dict(query.filters)
    if query.modality:
        filters["ModalitiesInStudy"] = query.modality
    found = values_of(_asked(server, lambda: client.search_for_studies(
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
        page = values_of(_asked(server, partial(search, offset=len(found) or None)), tag)
        if found.issuperset(page):
            return sorted(found)
        found.update(page)
        if len(found) > _MOST_INSTANCES:
            raise DicomError(f"the server lists more than {_MOST_INSTANCES} objects; narrow the query.")


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
        data, _ = attempt(server.retry, lambda: client.retrieve_instance(study, series, uid))
    except Refused as error:
        return Fetched(uid, None, error.status)
    with discreet():
        if str(data.get("SOPInstanceUID", "")) != uid:
            return Fetched(uid, None, "the server sent another instance")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_object(data, path)
    return Fetched(uid, path, "fetched")
