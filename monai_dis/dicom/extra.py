"""The optional libraries: where they are imported, the sentence when they are missing, and how they are kept quiet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from monai_dis.errors import DicomError

__all__ = ["discreet", "require"]

_PACKAGES = ("pydicom", "highdicom")


def require(module: str) -> Any:
    """Import a module of the extra ``dicom``.

    Raises:
        DicomError: when it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.split(".")[0]
        raise DicomError(f'reading DICOM needs {name}; install it with `pip install "monai-dis[dicom]"`.') from error


@contextmanager
def discreet() -> Iterator[None]:
    """Keep pydicom and highdicom from warning and logging: their messages quote values, which may be a person's data."""
    # Their modules' loggers have no level of their own, so that of the package counts for all.
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
