"""Store instances on a DICOMweb server by STOW (PS3.18): a status for each, and the failures inside a 200 answer are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from monai_dis.checks.limits import Limits
from monai_dis.dicom.delivery import Delivery, describe_reason
from monai_dis.dicom.dicomweb_server import NO_CONNECTION, Refused, Server, attempt, values_of
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.instance import Instance, open_data_set
from monai_dis.dicom.retry import Retry
from monai_dis.dicom.structure import StructureError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["store_instances"]


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
        server = replace(server, retry=Retry(attempts=1)) if delivery.status == NO_CONNECTION else server


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
            answer, _ = attempt(Retry(attempts=1), lambda: client.store_instances([data]))
        except Refused as error:
            status = error.status
            if error.final:
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
        found, _ = attempt(server.retry, lambda: client.search_for_instances(
            search_filters={"SOPInstanceUID": instance.uid}))  # fmt: skip
    except Refused:
        return False
    return instance.uid in values_of(found, "00080018")
