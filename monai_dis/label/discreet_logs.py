"""Logs without a person's data: other libraries' messages quote requests, paths and headers, so that only their kind is kept."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["keep_logs_discreet"]

#: Loggers whose messages are known: ours, and the server's about itself. Lines of background tasks are printed by us.
_KNOWN = ("monai_dis", "uvicorn", "task_train", "task_scoring", "task_batch_infer")
_installed = False


def keep_logs_discreet() -> None:
    """From now on a record of any other logger says who reports what kind of thing, and an exception only of which type it is.

    Works on records as they are made, whatever handlers there are or will be.
    """
    global _installed
    if _installed:
        return
    _installed = True
    # What they say below a warning is said of every request.
    for name in ("monailabel", "timeloop", "schedule"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("monai_dis").setLevel(logging.INFO)
    make = logging.getLogRecordFactory()

    def discreet(
        name: str, level: int, file: str, line: int, message: Any, args: Any, exception: Any, *more: Any, **named: Any
    ) -> logging.LogRecord:
        kind = exception[0] if isinstance(exception, tuple) else None
        if kind is not None:
            message, args = f"{name} reports {kind.__name__} ({file.rsplit('/', 1)[-1]}, line {line})", ()
        elif name.split(".")[0] not in _KNOWN:
            message, args = f"{name} reports {logging.getLevelName(level).lower()} (line {line})", ()
        return make(name, level, file, line, message, args, None, *more, **named)

    logging.setLogRecordFactory(discreet)
