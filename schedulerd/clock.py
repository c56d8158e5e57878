"""Time as a value that is passed in, so that tests own it.

`SystemClock` is the one the daemon uses. Tests use `tests.fakes.FakeClock`, which moves only when told.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time in seconds, and a way to wait that a test can drive."""

    def now_s(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    def wall_s(self) -> float:
        """Unix seconds, for people to read; it may jump, so nothing is computed from it."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` has passed; True when the event was set."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    now_s = staticmethod(time.monotonic)
    """Monotonic seconds (CLOCK_MONOTONIC, clock_gettime(2)). The function itself: a request asks a dozen times."""

    def wall_s(self) -> float:
        """Unix seconds (CLOCK_REALTIME, clock_gettime(2))."""
        return time.time()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait on the event; True when it was set."""
        return event.wait(timeout_s)
