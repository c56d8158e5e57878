"""How far a build is: bars on a terminal, else one plain line for every tenth of a stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Progress(Protocol):
    """Told by the stages of a build how far they are."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of `stage` are finished; `note` is a figure worth seeing (a loss, an accuracy)."""
        ...


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Progress that nobody looks at."""


class Lines:
    """Plain lines: the first step, each further tenth and the last of every stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tenths: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Print where a new tenth of `stage` begins."""
        tenth = 10 * done // max(total, 1)
        if self._tenths.get(stage) == tenth:
            return
        self._tenths[stage] = tenth
        print(f"{stage}: {done}/{total}{' ' + note if note else ''}", file=self._stream, flush=True)


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """Progress on `stream` (standard error): rich bars where it is a terminal, else plain lines."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    # Only a terminal needs rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(file=stream)) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note=note)
            bars.update(tasks[stage], completed=done, total=total, note=note)

        yield update
