"""The folder that a run writes to: made, seen to be writable, and cleaned of what a killed run left."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from monai_dis.data.atomic import TEMPORARY_PREFIX
from monai_dis.data.locks import LOCK_PREFIX
from monai_dis.errors import OutputError

__all__ = ["prepare_folder", "remove_leftovers"]


def prepare_folder(folder: str | Path) -> Path:
    """Make an output folder and see that files can be written to it.

    Returns:
        the folder, absolute, so that nothing depends on the working folder from here on.

    Raises:
        OutputError: when it cannot be made or written; before any computation, not after.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - `Path.absolute` keeps `..`
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"the output folder {folder} cannot be made: a file of that name is in the way.") from error
    except OSError as error:
        raise OutputError(
            f"the output folder {folder} cannot be written ({os.strerror(error.errno or 0)}); choose another one."
        ) from error
    return folder


def remove_leftovers(folder: Path, keep: Path | None = None) -> None:
    """Remove unfinished files and locks of killed runs; only for who knows that no other run writes to the folder.

    Args:
        folder: the output folder.
        keep: the lock by which the caller knows.
    """
    for prefix in (TEMPORARY_PREFIX, LOCK_PREFIX):
        for leftover in folder.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                if leftover != keep:
                    leftover.unlink()
