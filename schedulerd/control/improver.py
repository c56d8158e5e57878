"""Measures in the background what the quick profile of a first start has left out, while no app wants the board.

Apps that come find the board theirs: the measuring process is killed within a turn of the control loop, and what it
had found by then stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from blockprofiles.table import Table
from schedulerd.clock import Clock
from schedulerd.profiling.work import NOTHING, Work

SETTLED_S: Final = 5.0
"""The board must have been idle for so long: frames of a slow app are seconds apart."""
REST_S: Final = 60.0
"""Between two runs of which the first one came to its end without being told to."""

log = structlog.get_logger(__name__)


class Run(Protocol):
    """A profile under way, in a thread of its own."""

    @property
    def table(self) -> Table:
        """The newest, empty until there is one."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        ...

    def stop(self) -> None:
        """Kill what measures, without waiting for it."""
        ...


class Improver:
    """Called at every turn of the control loop; waits for nothing."""

    def __init__(
        self, table: Table, left: Callable[[Table], Work], begin: Callable[[Table], Run], clock: Clock
    ) -> None:
        """An improver of `table`.

        Args: table: what the daemon plans with; left: what could still be measured of it; begin: a run that goes on
        from a table; clock.
        """
        self._table = table
        self._left, self._begin = left, begin
        self._clock = clock
        self._run: Run | None = None
        self._stopped = False
        self._work = left(table)
        self._in_vain = NOTHING
        """What a run that came to its end could not measure."""
        self._idle_from_s = math.inf
        self._rested_at_s = -math.inf

    def tick(self, idle: bool) -> Table | None:
        """Begin, or stop, as the board is idle or not; a table when more is known than at the call before."""
        now_s = self._clock.now_s()
        self._idle_from_s = min(self._idle_from_s, now_s) if idle else math.inf
        if self._run is not None:
            return self._look_at(self._run, idle, now_s)
        worth_it = self._work and self._work != self._in_vain
        if worth_it and now_s - self._idle_from_s >= SETTLED_S and now_s >= self._rested_at_s:
            log.info("profile_goes_on", blobs=len(self._work.digests), because="no app wants the board")
            self._run, self._stopped = self._begin(self._table), False
        return None

    @property
    def running(self) -> bool:
        """Whether something is being measured."""
        return self._run is not None

    def close(self) -> None:
        """Stop what runs."""
        if self._run is not None:
            self._run.stop()

    def _look_at(self, run: Run, idle: bool, now_s: float) -> Table | None:
        if not idle and not self._stopped:
            self._stopped = True
            run.stop()
        # Asked first: the last table is there when it has ended.
        ended = run.ended
        newer = run.table if run.table.rows and run.table != self._table else None
        self._table = newer or self._table
        if ended:
            self._run = None
            left = self._left(self._table)
            if not self._stopped:
                self._rested_at_s = now_s + REST_S
                self._in_vain = left
                log.info("profile_came_to_its_end", blobs_left=len(left.digests))
            self._work = left
        return newer
