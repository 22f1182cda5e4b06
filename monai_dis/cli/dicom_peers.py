"""`monai-dis dicom fetch` and `send`: an archive as a peer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_dis.checks.limits import Limits
from monai_dis.cli.console import image_progress, out
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data.atomic import atomic_path
from monai_dis.data.output_folder import prepare_folder
from monai_dis.dicom.c_store import read_node, send_instances
from monai_dis.dicom.delivery import Delivery, collect_instances
from monai_dis.dicom.dicomweb_fetch import Query, fetch_instances
from monai_dis.dicom.dicomweb_server import Server
from monai_dis.dicom.dicomweb_store import store_instances
from monai_dis.dicom.retry import Retry
from monai_dis.errors import DicomError, OutputError

__all__ = ["INCOMPLETE", "run_fetch", "run_send"]

#: Exit status when some instances were not fetched or stored.
INCOMPLETE = 4

Record = dict[str, Any]


def run_fetch(server: Server, query: Query, folder: Path, json_file: Path | None) -> int:
    """Fetch and say what became of each instance.

    Returns:
        the exit status.
    """
    quiet_third_parties()
    folder = prepare_folder(folder)

    def fetched() -> Iterator[Record]:
        for each in fetch_instances(server, query, folder):
            yield {"uid": each.uid, "status": each.status, "ok": each.path is not None}

    records = _followed("fetching", fetched(), None)
    if not records:
        raise DicomError("the server finds nothing that fits the query; check the UIDs and filters.")
    return _finish(records, "there", json_file)


def run_send(
    peer: str, files: Sequence[Path], calling: str, retry: Retry, timeout_s: float, json_file: Path | None
) -> int:
    """Send and say what became of each instance.

    Returns:
        the exit status.
    """
    quiet_third_parties()
    limits = Limits()
    node = read_node(peer)
    if node is None and not peer.startswith(("http://", "https://")):
        raise DicomError("the peer is none; give the address of DICOMweb services, or TITLE@host:port.")
    instances = collect_instances(files, limits)
    deliveries: Iterable[Delivery]
    if node is None:
        deliveries = store_instances(Server(peer, retry, timeout_s), instances, limits)
    else:
        node = replace(node, calling=calling, retry=retry, timeout_s=timeout_s)
        deliveries = send_instances(node, instances, limits)
    records = _followed("sending", ({**each.to_dict(), "ok": each.stored} for each in deliveries), len(instances))
    return _finish(records, "stored", json_file)


def _followed(what: str, records: Iterable[Record], total: int | None) -> list[Record]:
    done = []
    with image_progress(what) as advance:
        for record in records:
            done.append(record)
            failed = f"[red]failed[/red] {record['uid']}: {record['status']}"
            advance(len(done), total or len(done), "" if record["ok"] else failed)
    return done


def _finish(records: Sequence[Record], done: str, json_file: Path | None) -> int:
    failed = sum(not record["ok"] for record in records)
    out.print(f"{len(records) - failed} of {len(records)} instances {done}", highlight=False)
    if json_file is not None:
        content = {"instances": [{key: value for key, value in each.items() if key != "ok"} for each in records]}
        summary = {"instances": len(records), "ok": len(records) - failed, "failed": failed}
        try:
            with atomic_path(json_file) as temporary:
                temporary.write_text(json.dumps({"summary": summary, **content}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{json_file} cannot be written ({error.strerror}); choose another file.") from error
    return INCOMPLETE if failed else 0
