"""What tests of a real MONAI Label server need besides the server."""

from __future__ import annotations

import importlib.util
import json
import time
import urllib.request
from typing import Any

import pytest

from monai_dis.testing.label_server import Running, label_server

__all__ = ["Running", "call", "label_server", "needs_label", "wait"]

needs_label = pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is None,
    reason="MONAI Label is not installed: it needs numpy 1 (extra `label`, .ci/constraints-b.txt)",
)


def call(server: Running, path: str, params: dict[str, Any]) -> Any:
    """Post JSON and read JSON."""
    request = urllib.request.Request(
        server.url + path, json.dumps(params).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def wait(server: Running, path: str) -> dict[str, Any]:
    """The last task, once it has ended."""
    for _ in range(600):
        with urllib.request.urlopen(server.url + path, timeout=120) as answer:
            status: dict[str, Any] = json.loads(answer.read())
        if status["status"] not in ("SUBMITTED", "RUNNING"):
            return status
        time.sleep(0.5)
    raise AssertionError(status)
