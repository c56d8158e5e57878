"""Profiler processes one after the other, until the job is done: what crashed or hung is marked, the rest goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from blockprofiles.events import Begun, Curves, Done, Event, Fault, Progress, Rows, from_line
from blockprofiles.process import SILENCE_S, End, ProfilerProcess
from blockprofiles.table import Table, Unusable

MAX_RESTARTS: Final = 20
"""More blobs than this do not crash; the engine does."""
MAX_UNEXPLAINED: Final = 3
"""Ends in a row for which no blob can be blamed."""
POLL_S: Final = 0.1
"""How often the watcher is called while nothing happens."""
FROM_OUTSIDE: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM})
"""Signals that a block does not raise: somebody stops the service, or the kernel is short of memory."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Heard:
    """What one process has said that outlives it."""

    begun: str | None = None
    done: bool = False


class Supervisor:
    """Runs profiler processes and keeps what they find. `run` is called once; any thread may `stop` it."""

    def __init__(
        self,
        command: Sequence[str],
        job_of: Callable[[Table, bool], bytes | None],
        keep: Callable[[Table], None],
        *,
        watch: Callable[[Progress], None],
        now: Callable[[], float] = time.monotonic,
        silence_s: float = SILENCE_S,
        limit_s: float | None = None,
    ) -> None:
        """A supervisor that has started nothing yet.

        Args:
            command: of a profiler process.
            job_of: its standard input, for what the table lacks, and whether it is to announce every run, because the
                one before ended in one that nobody had announced; None when nothing is left to do.
            keep: is given the table whenever more is known.
            watch: is told how far it is, ten times a second and more; what it raises ends the process and passes.
            now: monotonic seconds.
            silence_s: a process that says nothing for longer hangs.
            limit_s: for everything; what is not measured by then stays open. None: no limit.
        """
        self._command, self._job_of, self._keep, self._watch = command, job_of, keep, watch
        self._now, self._silence_s = now, silence_s
        self._end_s = None if limit_s is None else now() + limit_s
        self._progress = Progress(0.0)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: ProfilerProcess[Event] | None = None

    def run(self, table: Table) -> Table:
        """`table` with what could be measured. What went wrong is logged, with what it means."""
        suspects: set[str] = set()
        unexplained = 0
        for _ in range(MAX_RESTARTS):
            job = self._job_of(table, unexplained > 0)
            if job is None or self._over():
                return table
            try:
                table, heard, end = self._measured(table, job)
            except OSError as error:
                log.warning("profile_not_started", reason=str(error), remedy="run `schedulerd profile` later")
                return table
            if heard.done or end is None:
                if self._late():
                    log.warning("profile_cut_short", reason="its time is up", remedy=_REMEDY)
                return table
            fault = blamed(end, heard.begun, suspects)
            if fault is not None:
                table = self._without(fault, table)
            elif heard.begun is not None:
                suspects.add(heard.begun)
            unexplained = 0 if fault is not None else unexplained + 1
            if unexplained == MAX_UNEXPLAINED:
                log.warning("profile_given_up", reason=how(end), restarts=unexplained, remedy=_REMEDY)
                return table
        log.warning("profile_given_up", reason=f"{MAX_RESTARTS} blobs ended their process", remedy=_REMEDY)
        return table

    def stop(self) -> None:
        """Kill the process and start no other one; `run` returns soon after."""
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _measured(self, table: Table, job: bytes) -> tuple[Table, _Heard, End | None]:
        """What one process finds, what it said, and how it ended; None where it was ended from here."""
        heard = _Heard()
        with ProfilerProcess[Event](self._command, job, from_line, now=self._now, silence_s=self._silence_s) as process:
            with self._lock:
                self._process = process
            try:
                while process.end is None and not self._over():
                    for event in process.read(POLL_S):
                        table = self._taken(event, heard, table)
                    self._watch(self._progress)
            finally:
                with self._lock:
                    self._process = None
        return table, heard, None if self._stopping.is_set() else process.end

    def _taken(self, event: Event, heard: _Heard, table: Table) -> Table:
        if isinstance(event, Begun):
            heard.begun = event.digest
        elif isinstance(event, Progress):
            # A process that is started again begins at 0 with what is left.
            self._progress = replace(event, share=max(event.share, self._progress.share))
        elif isinstance(event, Done):
            heard.done = True
        elif isinstance(event, Fault):
            return self._without(event.unusable, table)
        elif isinstance(event, Rows):
            table = table.merged(event.rows, now_text())
            self._keep(table)
        elif isinstance(event, Curves):
            table = replace(table, contention=event.contention)
            self._keep(table)
        return table

    def _without(self, fault: Unusable, table: Table) -> Table:
        log.warning("blob_unusable", digest=fault.digest, reason=fault.reason)
        table = table.without([fault])
        self._keep(table)
        return table

    def _over(self) -> bool:
        """Whether it was stopped, or its time is up."""
        return self._stopping.is_set() or self._late()

    def _late(self) -> bool:
        return self._end_s is not None and self._now() >= self._end_s


_REMEDY: Final = "what was measured is used; `schedulerd profile` tries the rest again"


def blamed(end: End, begun: str | None, suspects: Collection[str]) -> Unusable | None:
    """Which blob ended a process, if one did; pure.

    Args: end: of the process; begun: what it had begun to load or run; suspects: what was begun when a process was
    ended from outside before: the second time it is blamed.
    """
    if begun is None or (end.silent_s is None and -end.code in FROM_OUTSIDE and begun not in suspects):
        return None
    return Unusable(begun, how(end))


def how(end: End) -> str:
    """In words what a process died of."""
    if end.silent_s is not None:
        return f"it hangs: nothing came of it in {end.silent_s:g} s"
    if end.code == -signal.SIGKILL:
        return "its process was killed from outside again and again: the memory may not suffice for it"
    last = end.said.splitlines()[-1:]
    said = f" ({last[0][:200]})" if last else ""
    if end.code < 0:
        return f"its process was ended by signal {-end.code}, {signal.strsignal(-end.code) or 'unknown'}{said}"
    return f"its process ended with code {end.code}{said}"


def now_text() -> str:
    """The time for people to read: ISO 8601, UTC. Nothing is computed from it, for the clock of a board may jump."""
    return datetime.now(UTC).isoformat(timespec="seconds")
