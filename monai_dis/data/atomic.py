"""Files that are whole or absent: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_dis.errors import OutputError

__all__ = ["TEMPORARY_PREFIX", "atomic_path", "written_whole"]

#: Names of unfinished files begin with this; a killed run may leave such a file, which can be deleted.
TEMPORARY_PREFIX = ".part-"
_KEPT = 32  # letters of the name
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which takes the name ``path`` when the block ends without an error.

    Whoever looks at ``path`` sees the old file or the whole new one, even when the process is killed in between.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        a path that does not exist yet, in the same folder and with the same suffixes, since writers choose the format
        by them.

    Raises:
        FileNotFoundError: when the block ends without having written the temporary file.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "report.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> target.read_text()
        '{}'
    """
    path = Path(path)
    # The end of the name alone: with its suffixes, and short enough where the name is as long as names may be.
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name[-_KEPT:]}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the name says that it is atomic
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """`atomic_path`, with a sentence for what the system says.

    Raises:
        OutputError: when the file cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OutputError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        room = "make room or " if error.errno in _FULL else ""
        raise OutputError(f"{path} cannot be written ({reason}); {room}choose another folder.") from error
