"""What a worker says to its parent: the listener of the measuring, as events on a pipe that nothing else writes to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Sequence
from typing import Final

from blockprofiles.events import Begun, Event, Fault, Progress, Rows, to_line
from blockprofiles.record import Row
from blockprofiles.table import Unusable

PROGRESS_S: Final = 0.1
"""Progress is told no more often than this: rounds of a small model take less than a millisecond."""


class Reporter:
    """A `blockprofiles.listener.Listener`."""

    def __init__(self, descriptor: int, measurable: Collection[str]) -> None:
        """Events go to `descriptor`; `measurable`: blobs with a file, because one without is not unusable."""
        self._descriptor = descriptor
        self._measurable = measurable
        self._told_s = -PROGRESS_S

    def say(self, event: Event) -> None:
        """Write one event; waits for a parent that does not read. BrokenPipeError where there is none."""
        left = memoryview(to_line(event))
        while left:
            left = left[os.write(self._descriptor, left) :]

    def begin(self, digest: str | None) -> None:
        """See `Listener`."""
        self.say(Begun(digest))

    def rows(self, rows: Sequence[Row]) -> None:
        """See `Listener`."""
        self.say(Rows(tuple(rows)))

    def fault(self, unusable: Unusable) -> None:
        """See `Listener`."""
        if unusable.digest in self._measurable:
            self.say(Fault(unusable))

    def progress(self, share: float, left_s: float | None) -> None:
        """See `Listener`."""
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_S:
            self._told_s = now_s
            self.say(Progress(share, left_s))


def own_output() -> int:
    """A descriptor for events; what anything else prints to standard output goes to standard error from now on."""
    sys.stdout.flush()
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return descriptor
