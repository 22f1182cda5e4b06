"""An OHIF viewer in a headless browser, over an archive on the loopback interface; nothing of it is reached from elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

__all__ = ["needs_ohif", "take_picture", "viewer"]

#: Where continuous integration puts the viewer and the driver of the browser.
HOME = Path(__file__).parents[2] / ".ci" / "ohif"
PAGES, DRIVER = HOME / "package" / "dist", HOME / "node_modules" / "playwright-core"
SCRIPT = Path(__file__).with_name("ohif_picture.cjs")
LONGEST_S = 600

needs_ohif = pytest.mark.skipif(
    not (PAGES / "index.html").is_file()
    or not DRIVER.is_dir()
    or not shutil.which("chromium")
    or not shutil.which("node"),
    reason="OHIF, playwright-core, Chromium or Node is not installed",
)

CONFIG = """
const root = window.location.origin + "/dicom-web";
window.config = {
  routerBasename: "/", extensions: [], modes: [], customizationService: {}, showStudyList: true,
  disableConfirmationPrompts: true, maxNumberOfWebWorkers: 1, investigationalUseDialog: { option: "never" },
  defaultDataSourceName: "archive",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "archive",
    configuration: {
      friendlyName: "archive", name: "archive", qidoRoot: root, wadoRoot: root, wadoUriRoot: root,
      qidoSupportsIncludeField: false, supportsFuzzyMatching: false, supportsWildcard: true,
      imageRendering: "wadors", thumbnailRendering: "wadors", enableStudyLazyLoad: true,
      omitQuotationForMultipartRequest: true, bulkDataURI: { enabled: true },
    },
  }],
};
"""


@contextmanager
def viewer(archive: str) -> Iterator[str]:
    """The viewer's pages and, behind the same address, the DICOMweb services of an archive; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, archive))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def take_picture(address: str, study: str, title: str, position: str, path: Path) -> dict[str, float]:
    """Open a study, put the series that is called so over the images, go to one of them, and take a picture.

    Args:
        address: of the viewer.
        study: Study Instance UID.
        title: beginning of the description of the series that is put over the images.
        position: of the image, as the viewer shows it: ``(12/24)``.
        path: of the picture.

    Returns:
        ``x``, ``y``, ``width`` and ``height`` of the viewport in the picture.
    """
    command = ["node", SCRIPT, DRIVER, shutil.which("chromium") or "", address, study, title, position, path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stderr
    viewport: dict[str, float] = json.loads(done.stdout)
    return viewport


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, archive: str, *arguments: object) -> None:
        self.archive = archive
        super().__init__(*arguments, directory=str(PAGES))  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web"):
            self._forward()
        elif path == "/app-config.js":
            self._answer(200, {"Content-Type": "text/javascript"}, CONFIG.encode())
        else:
            # Addresses inside the viewer are no files: it reads them itself.
            self.path = path if (PAGES / path.lstrip("/")).is_file() else "/index.html"
            super().do_GET()

    def _forward(self) -> None:
        # With the name by which the browser knows us the archive writes addresses that the browser may ask for.
        headers = {name: self.headers[name] for name in ("Accept", "Host") if name in self.headers}
        request = urllib.request.Request(self.archive + self.path.removeprefix("/dicom-web"), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._answer(answer.status, {"Content-Type": answer.headers["Content-Type"] or ""}, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, {}, error.read())

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
