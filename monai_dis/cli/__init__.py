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
    from monai_dis.cli.console import never_fail_to_print

    never_fail_to_print()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="monai-dis")
    except DisError as error:
        print(f"Error: {_sentence(str(error))}", file=sys.stderr)
        sys.exit(1)


def _sentence(message: str) -> str:
    """The message with a capital, unless it begins with a name or a path, which are as they are."""
    first = message.partition(" ")[0]
    return message[:1].upper() + message[1:] if first.isalpha() and first.islower() else message
