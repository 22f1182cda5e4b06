"""Locks between processes, which the system releases when a process ends, however it ends: none is ever stale.

A lock is a file in the folder that it guards (``flock``). Where a file system or an operating system knows no such locks, there are none:
every lock is given at once, and only atomic renames keep files whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

__all__ = ["LOCK_PREFIX", "locked", "locked_alone"]

#: Names of lock files begin with this.
LOCK_PREFIX = ".lock-"


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock, waiting for it; its file is removed with the last who holds it.

    Args:
        path: the lock's file.
        shared: several may hold it at once, and none of them while somebody holds it alone.
    """
    descriptor = _acquire(path, shared=shared, wait=True)
    try:
        yield
    finally:
        _release(path, descriptor)


@contextmanager
def locked_alone(path: Path) -> Iterator[bool]:
    """Try to hold a lock alone without waiting; says whether that is so. Where there are no locks, nobody can know, and it is not."""
    descriptor = _acquire(path, shared=False, wait=False)
    try:
        yield descriptor is not None
    finally:
        _release(path, descriptor)


def _acquire(path: Path, *, shared: bool, wait: bool) -> int | None:
    """The descriptor of the locked file; None where it is held by others or there are no locks."""
    if not _HAS_LOCKS:
        return None
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, how)
            # Whoever held it before may have removed the file: then this is a lock on nothing.
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)


def _release(path: Path, descriptor: int | None) -> None:
    if descriptor is None:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while others share it: they remove it
        path.unlink(missing_ok=True)
    os.close(descriptor)
