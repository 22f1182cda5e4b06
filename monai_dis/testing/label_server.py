"""A real MONAI Label server with our app, in a process of its own, for this machine alone: for tests and benchmarks."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_dis.errors import DisError

__all__ = ["Running", "label_server"]

PATIENCE_S = 300


@dataclass(frozen=True)
class Running:
    """A running server.

    Attributes:
        url: its address.
        work: its working folder.
        process: itself.
        log: what it wrote to its console.
    """

    url: str
    work: Path
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> Any:
        """The client of MONAI Label that 3D Slicer's module uses."""
        from monailabel.client.client import MONAILabelClient

        folder = self.work / "client"
        folder.mkdir(exist_ok=True)
        return MONAILabelClient(self.url, tmpdir=str(folder))

    def memory_bytes(self) -> int:
        """Resident memory of the server's process."""
        import psutil

        return int(psutil.Process(self.process.pid).memory_info().rss)


def _any_certificate() -> ssl.SSLContext:
    """Of this machine, for this machine: nobody has signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def label_server(
    studies: str | Path, bundles: Sequence[str | Path], folder: Path, options: Sequence[str | Path] = ()
) -> Iterator[Running]:
    """Start ``monai-dis label serve`` and wait until it answers; it is stopped at the end.

    Args:
        studies: folder or root of DICOMweb services.
        bundles: names or folders.
        folder: for everything that the server writes.
        options: more words of the command, such as ``--limit frames=10``.

    Raises:
        DisError: when it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    work, log = folder / "work", folder / "server.log"
    (folder / "home").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "monai_dis", "label", "serve", "--studies", str(studies), "--port", str(port)]
    command += [word for bundle in bundles for word in ("--bundle", str(bundle))] + [
        "--work",
        str(work),
        *map(str, options),
    ]
    environment = {**os.environ, "HOME": str(folder / "home")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        url, deadline = (
            f"{'https' if '--certificate' in options else 'http'}://127.0.0.1:{port}",
            time.monotonic() + PATIENCE_S,
        )
        while True:
            try:
                urllib.request.urlopen(f"{url}/auth/", timeout=60, context=_any_certificate()).close()
                break
            except (OSError, urllib.error.URLError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DisError(f"the server did not start; it said:\n{log.read_text()}") from error
                time.sleep(0.5)
        yield Running(url, work, process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)
