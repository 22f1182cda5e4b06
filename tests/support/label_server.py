"""A real MONAI Label server with our app, in a process of its own, for this machine alone."""

from __future__ import annotations

import importlib.util
import os
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

import pytest
from dicom_peers import free_port

__all__ = ["Running", "label_server", "needs_label"]

needs_label = pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is None,
    reason="MONAI Label is not installed: it needs numpy 1 (extra `label`, .ci/constraints-b.txt)",
)
PATIENCE_S = 240


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


@contextmanager
def label_server(studies: str | Path, bundles: Sequence[str | Path], folder: Path) -> Iterator[Running]:
    """Start ``monai-dis label serve`` and wait until it answers; stopped at the end by its own process id."""
    port, work = free_port(), folder / "work"
    (folder / "home").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "monai_dis", "label", "serve", "--studies", str(studies), "--port", str(port)]
    command += [word for bundle in bundles for word in ("--bundle", str(bundle))] + ["--work", str(work)]
    environment = {**os.environ, "HOME": str(folder / "home"), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{url}/info/", timeout=60).close()
                break
            except (OSError, urllib.error.URLError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        yield Running(url, work, process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)
