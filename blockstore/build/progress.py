"""How far a build is, and how long each stage will still take: bars on a terminal, else a line for every tenth."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, TextIO

_SPEED_OVER_S: Final = 300.0
"""The time left is reckoned from the speed of this long: variants that are done early make steps of unequal length."""


class Progress(Protocol):
    """Told by the stages of a build how far they are."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of `stage` are finished; `note` is a figure worth seeing (a loss, an accuracy)."""
        ...


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Progress that nobody looks at."""


@dataclass(slots=True)
class _Stage:
    """What was last printed of a stage, and where it began; a build that goes on does not begin at 0."""

    tenth: int
    first_step: int
    start_s: float


class Lines:
    """Plain lines: the first step, each further tenth and the last of every stage."""

    def __init__(self, stream: TextIO, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Print where a new tenth of `stage` begins."""
        tenth, now_s = 10 * done // max(total, 1), self._clock_s()
        known = self._stages.setdefault(stage, _Stage(-1, done, now_s))
        if known.tenth == tenth:
            return
        known.tenth = tenth
        left = _time_left(known, done, total, now_s)
        print(f"{stage}: {done}/{total}{left}{' ' + note if note else ''}", file=self._stream, flush=True)


def _time_left(stage: _Stage, done: int, total: int, now_s: float) -> str:
    """How long the rest takes at the speed so far, as ` (0:01:30 left)`; nothing where that is not known."""
    steps = done - stage.first_step
    if steps <= 0 or done >= total:
        return ""
    seconds = round((now_s - stage.start_s) / steps * (total - done))
    return f" ({timedelta(seconds=seconds)} left)"


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
    with Bars(*columns, console=Console(file=stream), speed_estimate_period=_SPEED_OVER_S) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note=note)
            bars.update(tasks[stage], completed=done, total=total, note=note)

        yield update
