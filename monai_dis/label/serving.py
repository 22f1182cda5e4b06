"""Starting the server: what is missing is said before anything starts, and what must be set is set."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_dis.checks.limits import Limits
from monai_dis.data.image_files import IMAGE_SUFFIXES
from monai_dis.errors import DisError
from monai_dis.label.access import read_token
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
        limits: changed limits on sizes, by name.
        names: under which the server is asked for, besides its address and this machine's own.
        token_file: with the secret that every request carries; None where anybody who reaches the server may ask.
        certificate: for TLS, with its chain; None to serve without.
        key: of the certificate, where it is in a file of its own.
        change_images: whether images that are there may be replaced and removed through the server.
        warm_up: whether each network answers an image of noise first.
    """

    studies: str
    bundles: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    work: Path | None = None
    label_geometry: str = "reject"
    limits: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    change_images: bool = False
    warm_up: bool = True

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"{'http' if self.certificate is None else 'https'}://{self.host}:{self.port}"

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
    Limits.of_words(serving.limits)
    if serving.token_file is not None:
        read_token(serving.token_file)
    if serving.certificate is not None:
        _check_certificate(serving.certificate, serving.key)
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


def _check_certificate(certificate: Path, key: Path | None) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise DisError(
            f"the certificate {certificate} cannot be used ({error}); give PEM files, the key with --key where it is not in the same file."
        ) from error


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
    serving = replace(
        serving,
        token_file=_absolute(serving.token_file),
        certificate=_absolute(serving.certificate),
        key=_absolute(serving.key),
    )
    app = prepare_environment(serving)
    os.chdir(serving.folder)  # a stray `.env` where the command was given would be obeyed
    from monai_dis.label.discreet_logs import keep_logs_discreet
    from monai_dis.label.torchvision_shim import ensure_torchvision

    keep_logs_discreet()
    ensure_torchvision()
    from monailabel.main import Main

    from monai_dis.label.fetching import fetch_compressed_too

    fetch_compressed_too()

    settings = {
        "models": models,
        "label_geometry": serving.label_geometry,
        "limits": json.dumps(dict(serving.limits)),
        "names": ",".join((*serving.names, serving.host)),
        "change_images": str(serving.change_images).lower(),
        "warm_up": str(serving.warm_up).lower(),
    }
    if serving.token_file is not None:
        settings["token_file"] = str(serving.token_file)
    sys.argv = ["monailabel", "start_server", "--app", str(app), "--studies", studies]
    sys.argv += ["--host", serving.host, "--port", str(serving.port), "-v", "WARNING", "--log_level", "warning"]
    sys.argv += [word for key, value in settings.items() for word in ("--conf", key, value)]
    for option, file in (("--ssl_certfile", serving.certificate), ("--ssl_keyfile", serving.key)):
        sys.argv += [] if file is None else [option, str(file)]
    Main().run()


def _absolute(file: Path | None) -> Path | None:
    return None if file is None else file.expanduser().absolute()


def app_folder() -> Path:
    """The app: in the clone, or in the installed package.

    Raises:
        DisError: when it is in neither.
    """
    for folder in (_PACKAGE.parent / "apps" / "dis", _PACKAGE / "_apps" / "dis"):
        if (folder / "main.py").is_file():
            return folder
    raise DisError("the MONAI Label app is missing from this installation; install monai-dis again.")
