"""The optional libraries: where they are imported, the sentence when they are missing, and how they are kept quiet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from threading import Lock
from typing import Any

from monai_dis.errors import DicomError

__all__ = ["discreet", "require"]

_PACKAGES = ("pydicom", "highdicom", "pynetdicom", "dicomweb_client", "retrying", "urllib3")


def require(module: str) -> Any:
    """Import a module of the extra ``dicom``.

    Raises:
        DicomError: when it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.split(".")[0].replace("_", "-")
        raise DicomError(f'DICOM needs {name}; install it with `pip install "monai-dis[dicom]"`.') from error


class _Hush:
    """Counts those who want silence: warnings and levels are the process's, and a cohort reads, predicts and writes at once."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.wanted = 0
        self.undo = ExitStack()

    def enter(self) -> None:
        with self.lock:
            self.wanted += 1
            if self.wanted > 1:
                return
            # Their modules' loggers have no level of their own, so that of the package counts for all.
            for name in _PACKAGES:
                package = logging.getLogger(name)
                self.undo.callback(package.setLevel, package.level)
                package.setLevel(logging.CRITICAL + 1)
            self.undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self.lock:
            self.wanted -= 1
            if self.wanted == 0:
                self.undo.close()


_HUSH = _Hush()


@contextmanager
def discreet() -> Iterator[None]:
    """Keep the libraries from warning and logging: their messages quote values, which may be a person's data."""
    _HUSH.enter()
    try:
        yield
    finally:
        _HUSH.leave()
