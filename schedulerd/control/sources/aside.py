"""A source that may block, read on a thread of its own: the control loop takes what was read last and goes on.

A program that is run, a driver or a peer may answer late or never. The thread sleeps until it is asked, does one read
and leaves its outcome; nobody waits for it.
"""

from __future__ import annotations

import queue
import threading
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.courtesy import preempt_nobody
from schedulerd.control.sources.base import Readings, Source

TIMEOUT_S: Final = 5.0


class _Read(NamedTuple):
    """One read: asked for, or done and what it came to."""

    number: int
    asked_at_s: float
    readings: Readings
    error: Exception | None = None


class Aside:
    """Gives what `source` read last, and has its next read done meanwhile. One thread uses it, as it does any source.

    `source.every_s` is kept here while it is well; asking an `Aside` costs nothing, so that it is asked at every look.
    """

    every_s = 0.0

    def __init__(self, source: Source, clock: Clock, timeout_s: float = TIMEOUT_S, keep_s: float | None = None) -> None:
        """A source that has read nothing yet.

        Args:
            source: what may block; from now on only the thread reads it.
            clock: tells how long a read takes, and how old its readings are.
            timeout_s: a read that takes longer is reported. It cannot be ended: a source has time limits of its own.
            keep_s: age at which readings are given no more; None allows for one read that is as late as it may be.
        """
        self._source = source
        self._clock = clock
        self._timeout_s = timeout_s
        self._keep_s = 2 * (source.every_s + timeout_s) if keep_s is None else keep_s
        self._asked: queue.SimpleQueue[_Read | None] = queue.SimpleQueue()
        self._number = 0
        self._asked_at_s = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False
        # The one field that the thread writes; whoever reads it takes it once, and has all of an outcome or none.
        self._last: _Read | None = None
        self.read_at_s: float | None = None
        """When the readings that `read` gave last were asked for: they are no older, and may be younger."""

    @property
    def name(self) -> str:
        """Of the source."""
        return self._source.name

    def read(self) -> Readings:
        """Readings of the last finished read, none while there is none or it is too old. Never blocks.

        Raises what that read raised, until another has succeeded; TimeoutError while a read hangs; ValueError once
        closed.
        """
        if self._closed:
            raise ValueError(f"{self.name} is closed; make another")
        now_s, last = self._clock.now_s(), self._last
        if self._number != (last.number if last else 0):
            self._check(now_s - self._asked_at_s)
        elif last is None or last.error or not 0 <= now_s - self._asked_at_s < self._source.every_s:
            # After an error at once: who hears of it comes back when it is time to try again, and has the outcome then.
            self._ask(now_s)
        if last is not None and last.error is not None:
            # Without its traceback, which would grow by a frame each time that the same error is raised.
            raise last.error.with_traceback(None)
        if last is None or now_s - last.asked_at_s > self._keep_s:
            return {}
        self.read_at_s = last.asked_at_s
        return last.readings

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread; one whose read hangs is left behind after `timeout_s` and ends with that read."""
        self._closed = True
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _check(self, taken_s: float) -> None:
        if taken_s > self._timeout_s:
            limit = f"its limit is {self._timeout_s:g} s"
            raise TimeoutError(
                f"{self.name} has not answered for {taken_s:.1f} s, {limit}; it is asked again once it has"
            )

    def _ask(self, now_s: float) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"read-{self.name}", daemon=True)
            thread.start()
            self._thread = thread
        self._number, self._asked_at_s = self._number + 1, now_s
        self._asked.put(_Read(self._number, now_s, {}))

    def _run(self) -> None:
        preempt_nobody()  # nor does a program that the source runs
        while (asked := self._asked.get()) is not None:
            try:
                self._last = asked._replace(readings=self._source.read())
            except Exception as error:
                self._last = asked._replace(error=error.with_traceback(None))
