"""Connections of other machines that were refused, told at once and then now and then, however many there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from schedulerd.clock import Clock

log = structlog.get_logger(__name__)

TELL_EVERY_S: Final = 10.0


class Refusals:
    """For one thread."""

    def __init__(self, clock: Clock) -> None:
        """Nobody has been refused."""
        self._clock = clock
        self._not_before_s = clock.now_s()
        self._untold = 0

    def note(self, reason: str, lately_from: Iterable[str]) -> None:
        """One was refused."""
        now_s = self._clock.now_s()
        if now_s < self._not_before_s:
            self._untold += 1
            return
        log.warning("remote_refused", reason=reason, lately_from=sorted(set(lately_from)), untold_before=self._untold)
        self._untold, self._not_before_s = 0, now_s + TELL_EVERY_S
