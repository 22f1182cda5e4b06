"""Starting the server: what is missing is said before anything starts, and what must be set is set."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_dis.data.image_files import IMAGE_SUFFIXES
from monai_dis.errors import DisError
from monai_dis.label.desk import choose_models

__all__ = ["Serving", "app_folder", "check_serving", "prepare_environment", "run_server"]

_PACKAGE = Path(__file__).resolve().parents[1]
INSTALL = 'pip install -c .ci/constraints-b.txt "monai-dis[label,dicom]"'


@dataclass(frozen=True)
class Serving:
    """What is served, and where.

    Attributes:
        studies: folder of images, or root of DICOMweb services.
        bundles: names or folders; none for every bundle with weights.
        host: address to listen on.
        port: likewise.
        work: folder for logs, trained weights, sessions and what is fetched; made when missing.
        label_geometry: what is done about a label that lies elsewhere than its image, ``"reject"`` or ``"warn"``.
    """

    studies: str
    bundles: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    work: Path | None = None
    label_geometry: str = "reject"

    @property
    def from_archive(self) -> bool:
        """Whether the studies are in a DICOMweb archive."""
        return self.studies.startswith(("http://", "https://"))

    @property
    def folder(self) -> Path:
        """The working folder: by default one for each place of studies, so that trained weights are found again."""
        if self.work is not None:
            return self.work.expanduser().absolute()
        digest = hashlib.sha256(self.studies.rstrip("/").encode()).hexdigest()[:12]
        return Path.home() / ".cache" / "monai_dis" / "label" / digest


def check_serving(serving: Serving) -> list[str]:
    """Check everything that a start needs.

    Returns:
        names of the bundles.

    Raises:
        DisError: with what is missing and how to get it.
        BundleError: when a bundle or its weights are missing.
    """
    missing = [name for name in ("monailabel", "pydicom", "highdicom") if importlib.util.find_spec(name) is None]
    if missing:
        raise DisError(f"{', '.join(missing)} is not installed; in an environment of its own run `{INSTALL}`.")
    if not serving.from_archive and not Path(serving.studies).expanduser().is_dir():
        raise DisError(
            f"there is no folder {serving.studies}; give a folder of images or the URL of DICOMweb services."
        )
    models = choose_models(",".join(serving.bundles))
    for name, folder in models.items():
        if not any((folder / "models").glob("*.pt")):
            raise DisError(f"the bundle {name} has no weights in {folder / 'models'}; train it, or restore the file.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as error:
            raise DisError(
                f"port {serving.port} of {serving.host} cannot be used ({error.strerror}); choose another with --port."
            ) from error
    return list(models)


def prepare_environment(serving: Serving) -> Path:
    """Set what MONAI Label reads from its environment, and make the working folder.

    Returns:
        the folder of the app, a copy in the working folder: the server writes beside it.
    """
    work = serving.folder
    app = work / "app"
    for folder in (app, work / "sessions", work / "dicom", work / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    for left in (work / "tmp").iterdir():  # of a server that was killed
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    shutil.copyfile(app_folder() / "main.py", app / "main.py")
    patterns = [f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True)]
    values = {
        "MONAI_LABEL_SESSION_PATH": str(work / "sessions"),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(work / "dicom"),
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(patterns),
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        # Nothing is asked of the network but the archive.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(work / "tmp"),
    }
    os.environ.update(values)
    tempfile.tempdir = None
    os.umask(0o077)
    return app


def run_server(serving: Serving, names: Sequence[str]) -> None:
    """Serve until the process is told to stop."""
    studies = serving.studies if serving.from_archive else str(Path(serving.studies).expanduser().absolute())
    models = ",".join(str(folder) for folder in choose_models(",".join(serving.bundles)).values())
    app = prepare_environment(serving)
    os.chdir(serving.folder)  # a stray `.env` where the command was given would be obeyed
    from monai_dis.label.discreet_logs import keep_logs_discreet
    from monai_dis.label.torchvision_shim import ensure_torchvision

    keep_logs_discreet()
    ensure_torchvision()
    from monailabel.main import Main

    from monai_dis.label.archive import fetch_compressed_too

    fetch_compressed_too()

    sys.argv = [
        "monailabel", "start_server", "--app", str(app), "--studies", studies, "--host", serving.host,
        "--port", str(serving.port), "--conf", "models", models,
        "--conf", "label_geometry", serving.label_geometry, "-v", "WARNING", "--log_level", "warning",
    ]  # fmt: skip
    Main().run()


def app_folder() -> Path:
    """The app: in the clone, or in the installed package.

    Raises:
        DisError: when it is in neither.
    """
    for folder in (_PACKAGE.parent / "apps" / "dis", _PACKAGE / "_apps" / "dis"):
        if (folder / "main.py").is_file():
            return folder
    raise DisError("the MONAI Label app is missing from this installation; install monai-dis again.")
