"""What the command line shows while it works: results on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["err", "image_progress", "out", "slide_progress", "working"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Advance = Callable[[int, int, str], None]
Stage = Callable[[str, int, int], None]


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
    with _bars(TimeRemainingColumn()) as progress:
        task = progress.add_task(what, total=None)

        def advance(done: int, total: int, line: str) -> None:
            if line:
                out.print(line, highlight=False)
            progress.update(task, completed=done, total=total)

        yield advance


@contextmanager
def slide_progress() -> Iterator[Stage]:
    """Show a bar for each stage of a slide; the yielded function takes the stage, how much of it is done and of how much."""
    with _bars() as progress:
        tasks: dict[str, TaskID] = {}

        def stage(name: str, done: int, total: int) -> None:
            if name not in tasks or done < progress.tasks[progress.task_ids.index(tasks[name])].completed:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield stage


def _bars(*more: ProgressColumn) -> Progress:
    """Bars with what is done and the time it took, on a terminal; nothing where the output goes to a file."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, *more, console=err, transient=True, disable=not err.is_terminal)
