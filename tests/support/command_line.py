"""The command line, called in the test's own process."""

from __future__ import annotations

import pytest

from monai_dis.cli import main

__all__ = ["call"]


def call(*arguments: object) -> int:
    """Exit status of ``monai-dis`` with these arguments."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    code = exit_.value.code
    return code if isinstance(code, int) else 0 if code is None else 1
