"""Stand-ins that several tests share. Each satisfies one of our Protocols."""

from __future__ import annotations

import threading
import time

PATIENCE_S = 10.0
"""Real seconds after which a test that nobody drives on is broken."""


class FakeClock:
    """A `schedulerd.clock.Clock` that moves only when told."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s
        self._moved = threading.Condition()

    def now_s(self) -> float:
        """The time that the test has set."""
        return self._now_s

    def wall_s(self) -> float:
        """Unix seconds that move with `now_s`."""
        return 1_700_000_000.0 + self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; waits whose time is up return."""
        with self._moved:
            self._now_s += seconds
            self._moved.notify_all()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `advance` has passed the timeout; True when the event was set.

        Raises TimeoutError when neither happens in `PATIENCE_S` real seconds: nobody drives the clock.
        """
        until_s = self._now_s + timeout_s
        give_up_s = time.monotonic() + PATIENCE_S
        with self._moved:
            while not event.is_set() and self._now_s < until_s:
                if time.monotonic() > give_up_s:
                    raise TimeoutError(f"nobody advanced the clock from {self._now_s} to {until_s}")
                self._moved.wait(0.001)  # setting the event wakes nobody here, so look often
        return event.is_set()
