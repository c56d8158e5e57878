"""Keeps the service manager's watchdog quiet, but only while everything that must come round does.

A process is not alive because one of its threads is: a lane that hangs in a driver, or sockets that nobody reads any
more, serve no one, and a restart is the cure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from schedulerd.clock import Clock
from schedulerd.notify import Notifier

log = structlog.get_logger(__name__)


def overdue(ages_s: Mapping[str, float], watchdog_s: float) -> list[str]:
    """Those of whom nothing was seen for half of what the watchdog allows, so that it has ended us by twice that."""
    return [name for name, age_s in ages_s.items() if age_s >= watchdog_s / 2]


class Watchdog:
    """Call `look` more often than `notify.watchdog_interval_s` says."""

    def __init__(
        self, notifier: Notifier, watchdog_s: float | None, beats: Callable[[], Mapping[str, float]], clock: Clock
    ) -> None:
        """Args: notifier; watchdog_s: None for no watchdog; beats: when each part last came round; clock."""
        self._notifier = notifier
        self._watchdog_s = watchdog_s
        self._beats = beats
        self._clock = clock
        self._late: list[str] = []

    def look(self) -> None:
        """Feed the watchdog, or say once, for the journal of a daemon that was ended, who is late."""
        if self._watchdog_s is None:
            return
        now_s = self._clock.now_s()
        ages_s = {name: now_s - beat_s for name, beat_s in self._beats().items()}
        late = overdue(ages_s, self._watchdog_s)
        if not late:
            self._notifier.watchdog()
        if late != self._late:
            log.warning("watchdog_not_fed" if late else "watchdog_fed_again", late=late, watchdog_s=self._watchdog_s)
        self._late = late
