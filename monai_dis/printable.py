"""Text that every terminal, log and file takes: names of files may hold bytes that are no text."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Text with bytes that are no UTF-8, as Python keeps them in names of files, written out.

    Example:
        >>> printable("caf\udce9.png")
        'caf\\udce9.png'
    """
    return text.encode(errors="backslashreplace").decode()
