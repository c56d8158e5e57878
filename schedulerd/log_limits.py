"""Keeps one event from filling the log: so many lines at once, then so many a second, and how many were left out.

A client that floods, or a sensor that fails at every look, says the same over and over; a board's card is small and
what else happened is to be found. What was decided is never left out.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from structlog.typing import EventDict, WrappedLogger

from schedulerd.clock import Clock

DECISIONS: Final = frozenset(
    (
        *("plan", "plan_kept", "plan_in_stages", "plan_put_off", "plan_failed"),
        *("reloaded", "reload_refused", "log_level", "remote_edit"),
    )
)
"""Of the control loop, and of operators: who changed what is not to be hidden by a flood."""
LIFE: Final = frozenset(("ready", "stopped"))
"""The last line is among them: what was left out and not told yet is told before it."""
_ALWAYS: Final = DECISIONS | LIFE
LEFT_OUT: Final = "lines_left_out"
OTHERS: Final = "others"
"""Stands for all events that came when `MOST_NAMES` had been seen."""
MOST_NAMES: Final = 256
TELL_EVERY_S: Final = 10.0
"""Least between two lines about what one event left out."""
_ERRORS: Final = ("error", "critical")
_ERRORS_FACTOR: Final = 10
"""Errors are few, and each may be the one that explains the rest."""


class Rate(NamedTuple):
    """What one event may write."""

    burst: int
    """Lines at once."""
    per_s: float
    """Lines a second from then on."""


@dataclass(slots=True)
class _Bucket:
    """The lines that one event of one level may write now."""

    tokens: float
    filled_s: float
    left_out: int = 0
    told_s: float = 0.0


class Limiter:
    """A structlog processor. Called by all threads."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._lock = threading.Lock()

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """The event, or `structlog.DropEvent` where it has been written too often."""
        name = str(event.get("event"))
        if name == LEFT_OUT:
            return event
        with self._lock:
            if name not in _ALWAYS and not self._taken(name, level):
                raise structlog.DropEvent
            owed = self._owed(everything=name in LIFE)
        for of, count in owed:
            structlog.get_logger(__name__).warning(LEFT_OUT, of=of, lines=count)
        return event

    def _taken(self, name: str, level: str) -> bool:
        """Whether a line may be written; it counts as written, or as left out."""
        rate, now_s = self._rate_of(level), self._clock.now_s()
        bucket = self._bucket(name, level, rate, now_s)
        bucket.tokens = min(rate.burst, bucket.tokens + (now_s - bucket.filled_s) * rate.per_s)
        bucket.filled_s = now_s
        if bucket.tokens < 1.0:
            bucket.left_out += 1
            return False
        bucket.tokens -= 1.0
        return True

    def _bucket(self, name: str, level: str, rate: Rate, now_s: float) -> _Bucket:
        key = (name, level)
        if key not in self._buckets and len(self._buckets) >= MOST_NAMES:
            key = (OTHERS, level)
        return self._buckets.setdefault(key, _Bucket(rate.burst, now_s))

    def _rate_of(self, level: str) -> Rate:
        factor = _ERRORS_FACTOR if level in _ERRORS else 1
        return Rate(self._rate.burst * factor, self._rate.per_s * factor)

    def _owed(self, *, everything: bool) -> list[tuple[str, int]]:
        """What has to be told now, and is taken as told: events, and how many lines of each were left out."""
        now_s, owed = self._clock.now_s(), []
        for (name, _), bucket in self._buckets.items():
            if bucket.left_out and (everything or now_s - bucket.told_s >= TELL_EVERY_S):
                owed.append((name, bucket.left_out))
                bucket.left_out, bucket.told_s = 0, now_s
        return owed
