"""DICOM objects as files: whole or absent, with an empty preamble (O13)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from monai_dis.data.atomic import atomic_path
from monai_dis.dicom.extra import discreet, require
from monai_dis.errors import OutputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["save_options", "write_object"]


def save_options() -> dict[str, bool]:
    """What makes either generation of pydicom write a whole file, with preamble and file meta information."""
    three = int(require("pydicom").__version__.split(".")[0]) >= 3
    return {"enforce_file_format": True} if three else {"write_like_original": False}


def write_object(data: Dataset, path: Path) -> None:
    """Write a DICOM file under a temporary name, bring it to the disk and move it in place.

    Raises:
        OutputError: when it cannot be written; nothing is left of it then.
    """
    data.preamble = b"\0" * 128
    try:
        with atomic_path(path) as temporary:
            with discreet():
                data.save_as(temporary, **save_options())
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(
            f"a DICOM result cannot be written ({reason}); make room or choose another folder."
        ) from error
