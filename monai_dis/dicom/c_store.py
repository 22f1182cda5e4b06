"""An archive as a DIMSE peer: C-STORE by pynetdicom (PS3.4 annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from monai_dis.checks.limits import Limits
from monai_dis.dicom.delivery import Delivery, describe_reason
from monai_dis.dicom.extra import discreet, require
from monai_dis.dicom.instance import Instance, open_data_set
from monai_dis.dicom.retry import Retry
from monai_dis.dicom.structure import StructureError
from monai_dis.errors import DicomError

__all__ = ["Node", "read_node", "send_instances"]

_NODE = re.compile(r"(?P<title>[^@\s\\]{1,16})@(?P<host>[^@\s:]+):(?P<port>\d{1,5})")
_MOST_CONTEXTS = 120  # of one association; the standard allows 128
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


@dataclass(frozen=True)
class Node:
    """A storage SCP.

    Attributes:
        title: its application entity title.
        host: name or address.
        port: number.
        calling: our own title.
        retry: how often an instance is sent.
        timeout_s: for each answer.
    """

    title: str
    host: str
    port: int
    calling: str = "MONAI_DIS"
    retry: Retry = field(default_factory=Retry)
    timeout_s: float = 60.0


def read_node(text: str) -> Node | None:
    """Read ``TITLE@host:port``; None when a text is something else.

    Example:
        >>> node = read_node("ORTHANC@127.0.0.1:4242")
        >>> node.title, node.host, node.port
        ('ORTHANC', '127.0.0.1', 4242)
    """
    found = _NODE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        return None
    return Node(found["title"], found["host"], int(found["port"]))


def send_instances(node: Node, instances: Sequence[Instance], limits: Limits) -> Iterator[Delivery]:
    """Send instances over as few associations as are needed; one that fails is tried again alone.

    Args:
        node: where to.
        instances: in the order of sending.
        limits: the same as when they were found.

    Yields:
        what became of each. Warnings of the peer count as stored.
    """
    for group in _groups(instances):
        sender = _Sender(node, group)
        try:
            for instance in group:
                yield sender.send(instance, limits)
        finally:
            sender.close()


def _groups(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Runs of instances whose presentation contexts fit one association."""
    group: list[Instance] = []
    contexts: set[tuple[str, str]] = set()
    for instance in instances:
        own = (instance.sop_class, instance.syntax)
        if own not in contexts and len(contexts) == _MOST_CONTEXTS:
            yield group
            group, contexts = [], set()
        group.append(instance)
        contexts.add(own)
    if group:
        yield group


class _Sender:
    """An association that is opened when it is needed, and again after it was lost."""

    def __init__(self, node: Node, instances: Sequence[Instance]) -> None:
        self.node = node
        self.entity: Any = require("pynetdicom").AE(ae_title=node.calling)
        self.entity.acse_timeout = self.entity.dimse_timeout = node.timeout_s
        self.entity.network_timeout = self.entity.connection_timeout = node.timeout_s
        # One context for each pair: a peer picks one syntax of several, and then the others could not be sent.
        for sop_class, syntax in sorted({(each.sop_class, each.syntax) for each in instances}):
            self.entity.add_requested_context(sop_class, syntax)
        self.association: Any = None
        self.reached = True

    def send(self, instance: Instance, limits: Limits) -> Delivery:
        try:
            data = open_data_set(instance, limits)
        except StructureError as error:
            return Delivery(instance.path, instance.uid, False, error.code, 0)
        status, number = "not tried", 0
        # A peer that was not there for one instance is not waited for again for each of the others.
        for number in self.node.retry if self.reached else Retry(attempts=1):
            self.reached = self._is_open()
            if not self.reached:
                status = "no association"
                continue
            try:
                with discreet():
                    answer = self.association.send_c_store(data)
            except ValueError:
                return Delivery(
                    instance.path, instance.uid, False, "the peer does not take its SOP class and syntax", number
                )
            except Exception as error:  # whatever is raised, its text may quote the data set
                status = f"not sent ({type(error).__name__})"
                self.close()
                continue
            code = answer.get("Status") if answer else None
            if code is None:
                status = "no answer in time"
                self.close()
                continue
            if code == 0x0000 or code >> 12 == 0xB or code in (0x0001, 0x0107, 0x0116):
                said = "stored" if code == 0 else f"stored with warning {code:04X}"
                return Delivery(instance.path, instance.uid, True, said, number)
            status = describe_reason(code)
            if code not in _OUT_OF_RESOURCES:
                break
        return Delivery(instance.path, instance.uid, False, status, number)

    def close(self) -> None:
        """Release the association, if there is one."""
        if self.association is not None:
            with discreet():
                if self.association.is_established:
                    self.association.release()
            self.association = None

    def _is_open(self) -> bool:
        if self.association is not None and self.association.is_established:
            return True
        try:
            with discreet():
                self.association = self.entity.associate(self.node.host, self.node.port, ae_title=self.node.title)
        except (ValueError, TypeError):
            raise DicomError("the peer's title or address cannot be used; give TITLE@host:port.") from None
        return bool(self.association.is_established)
