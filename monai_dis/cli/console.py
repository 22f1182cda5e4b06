"""What the command line shows while it works: results on standard output, progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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

__all__ = ["Advance", "err", "image_progress", "never_fail_to_print", "out", "plain", "working"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def never_fail_to_print() -> None:
    """Replace what the terminal or log cannot encode: a name must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def plain(text: str) -> str:
    """A name as it can be printed: control characters and bytes that are no text are replaced."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner on a terminal; nothing where the output goes to a file."""
    if not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


@dataclass
class Advance:
    """A bar over studies, and one for each stage of a study that takes long; called with how many are done, of how many, and a line."""

    progress: Progress
    task: TaskID
    stages: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, done: int, total: int, line: str) -> None:
        """Print a line and move the bar."""
        if line:
            out.print(line, highlight=False)
        for task in self.stages.values():
            self.progress.remove_task(task)
        self.stages.clear()
        self.progress.update(self.task, completed=done, total=total)

    def stage(self, name: str, done: int, total: int) -> None:
        """Show how much of a stage is done."""
        if name not in self.stages:
            self.stages[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.stages[name], completed=done, total=total)


@contextmanager
def image_progress(what: str) -> Iterator[Advance]:
    """Show a bar."""
    with _bars(TimeRemainingColumn()) as progress:
        yield Advance(progress, progress.add_task(what, total=None))


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
