"""The folder where exports are kept for the next process. It saves time and nothing else: a run goes on without it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path

__all__ = ["ExportCache", "is_there"]

logger = logging.getLogger(__name__)


class ExportCache:
    """Files by a key. Where one cannot be written (no room, no right, no folder), that is said once and none is written any more.

    Args:
        folder: where they are; nothing is kept when not given.
        name: their names begin with it.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.folder = folder
        self.name = name
        self._writes = folder is not None

    def path(self, key: str, suffix: str) -> Path | None:
        """Where the file or folder of a key is, whether it is there or not."""
        if self.folder is None:
            return None
        return self.folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}{suffix}"

    def keep(self, path: Path | None, write: Callable[[Path], Any]) -> None:
        """Write a file or a folder, whole or not at all.

        Args:
            path: of `path`.
            write: writes to the temporary path that it is given.
        """
        if path is None or not self._writes:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                write(temporary)
        except Exception as error:  # writers of others raise what they like, RuntimeError for a full disk
            self._writes = False
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("exports are not kept in %s (%s); the run goes on without.", self.folder, reason)


def is_there(path: Path) -> bool:
    """Whether something is there; what may not be looked at is not."""
    try:
        return path.exists()
    except OSError:
        return False
