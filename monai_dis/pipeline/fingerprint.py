"""Which content a study has: SHA-256 of its bytes, whatever it is called and whenever it was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["absolute", "content_of", "settings_digest"]

_CHUNK = 1 << 20


def content_of(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 of files, each under a name that stays when their folder moves.

    Args:
        files: names and files.

    Raises:
        OSError: when one cannot be read.
    """
    whole = hashlib.sha256()
    for name, path in sorted(files):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        whole.update(f"{name}\0{digest.hexdigest()}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings in plain JSON types."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def absolute(path: str | Path) -> Path:
    """One path for one file: absolute, without ``~`` and ``..``; links are not followed."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - `Path.absolute` keeps `..`
