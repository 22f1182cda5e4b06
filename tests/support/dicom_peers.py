"""Peers of DICOM tests on the loopback interface: a scripted DICOMweb server, a storage SCP, an Orthanc."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from own_network import can_have_own_network, in_own_network

__all__ = [
    "ORTHANC_PLUGIN",
    "Orthanc",
    "Script",
    "free_port",
    "needs_orthanc",
    "orthanc",
    "scripted_server",
    "storage_scp",
]

#: Orthanc's DICOMweb plugin, where it is installed.
ORTHANC_PLUGIN = next(
    (path for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*") if path.exists()), None
)
needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None or ORTHANC_PLUGIN is None or not can_have_own_network(),
    reason="Orthanc with its DICOMweb plugin is not installed, or there is no network namespace for it (`unshare --net`)",
)
Answer = tuple[int, str, dict[str, Any] | list[Any] | None]


@dataclass
class Script:
    """What a server answers: for each POST the next of a list (the last one again and again), for GET one thing."""

    posts: list[Callable[[str], Answer]]
    get: Answer = (200, "application/dicom+json", [])
    requests: list[str] = field(default_factory=list)


@contextmanager
def scripted_server(script: Script) -> Iterator[str]:
    """An HTTP server that answers as it is told, whose root it yields; a posted SOP Instance UID is given to the answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert b"\0" * 128 + b"DICM\x02\0\0\0UL" in body
            start = body.index(b"\x08\x00\x18\x00UI") + 8
            uid = body[start : start + int.from_bytes(body[start - 2 : start], "little")].decode().strip("\0")
            number = sum(line.startswith("POST") for line in script.requests)
            script.requests.append(f"POST {uid}")
            self.answer(script.posts[min(number, len(script.posts) - 1)](uid))

        def do_GET(self) -> None:
            script.requests.append(f"GET {self.path}")
            self.answer(script.get)

        def answer(self, answer: Answer) -> None:
            status, kind, content = answer
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            if data:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def storage_scp(statuses: list[int], received: list[Any]) -> Iterator[str]:
    """A storage SCP that answers with these statuses (the last one again and again); yields its ``TITLE@host:port``."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    entity = AE(ae_title="PEER")
    entity.supported_contexts = AllStoragePresentationContexts

    def on_store(event: Any) -> int:
        received.append(event.dataset)
        return statuses[min(len(received), len(statuses)) - 1]

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        yield f"PEER@127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        url: root of its DICOMweb services.
        node: its storage SCP as ``TITLE@host:port``.
    """

    url: str
    node: str


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc of its own with the DICOMweb plugin, for this machine alone."""
    program = shutil.which("Orthanc")
    assert program is not None
    port, dicom_port = free_port(), free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": dicom_port,
        "DicomModalities": {"us": ["MONAI_DIS", "127.0.0.1", 104]},
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowEcho": False,
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    # It listens on every address, whatever its settings say.
    command, ports = [program, str(folder / "orthanc.json")], [port, dicom_port]
    with in_own_network(command, ports, folder / "log") as process:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/system", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield Orthanc(f"http://127.0.0.1:{port}/dicom-web", f"ORTHANC@127.0.0.1:{dicom_port}")
