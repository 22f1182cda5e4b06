"""The command line: parse, call the library, print. Nothing here computes, and `--help` imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from monai_dis.errors import DisError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``monai-dis``; exits with status 0 only when everything that was asked for is done.

    Args:
        arguments: what follows the program's name; the process's own when not given.
    """
    from monai_dis.cli.app import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="monai-dis")
    except DisError as error:
        print(f"Error: {_sentence(str(error))}", file=sys.stderr)
        sys.exit(1)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]
