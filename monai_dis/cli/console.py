"""What the command line shows while it works: results on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["err", "image_progress", "out", "working"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Advance = Callable[[int, int, str], None]


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner on a terminal; nothing where the output goes to a file."""
    if not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


@contextmanager
def image_progress(what: str) -> Iterator[Advance]:
    """Show a bar over images; the yielded function takes how many are done, of how many, and a line to print."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def advance(done: int, total: int, line: str) -> None:
            if line:
                out.print(line, highlight=False)
            progress.update(task, completed=done, total=total)

        yield advance
