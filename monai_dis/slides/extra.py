"""The optional packages that read slides: where they are imported, and the sentence when one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from monai_dis.errors import ImageError

__all__ = ["require"]


def require(module: str, purpose: str) -> Any:
    """Import a package of the extra ``slides``.

    Args:
        module: its name.
        purpose: what it is needed for, the beginning of the sentence.

    Raises:
        ImageError: when it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImageError(f'{purpose} needs {module}; install it with `pip install "monai-dis[slides]"`.') from error
