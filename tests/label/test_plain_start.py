"""The app under MONAI Label's own command, without ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from label_server import needs_label
from PIL import Image
from small_bundle import disc, write_tiny_bundle

pytestmark = [needs_label, pytest.mark.slow]

APP = Path(__file__).parents[2] / "apps" / "dis"


def test_monai_labels_own_command_serves_the_app(tmp_path: Path) -> None:
    studies, bundle = tmp_path / "studies", write_tiny_bundle(tmp_path)
    studies.mkdir()
    Image.fromarray(disc()).save(studies / "eye.png")
    # the command writes its logs and models beside the app
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_bytes((APP / "main.py").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", app, "--studies", studies]
    command += ["--host", "127.0.0.1", "--port", str(port), "--conf", "models", bundle]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        info, deadline = None, time.monotonic() + 300
        while info is None:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/info/", timeout=60) as answer:
                    info = json.loads(answer.read())
            except (OSError, urllib.error.URLError):
                time.sleep(0.5)
        assert {"tiny_bundle", "tiny_bundle_clicks", "tiny_bundle_look"} <= set(info["models"])
        # the guard stands here too
        outside = urllib.request.Request(f"http://127.0.0.1:{port}/infer/tiny_bundle?image=/etc/passwd", method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(outside, timeout=60)
        assert caught.value.code == 404
    finally:
        process.terminate()
        process.wait(timeout=60)
