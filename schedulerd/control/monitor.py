"""Asks the sources and freezes their answers: the first stage of the control loop.

A source that fails is named in the snapshot, with the reason, and asked again later and later; the others are read
all the same. Its last readings are not kept: what is unread is None, never stale.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import structlog

from schedulerd.clock import Clock
from schedulerd.config import BoardConfig
from schedulerd.control.snapshot import Origin, Snapshot, Unread
from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.base import Readings, Source
from schedulerd.control.sources.board import sources_of

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
TOLD_AGAIN_S = 60.0
"""A source that comes and goes is logged no more often than this."""


class Monitor:
    """Owns the sources; one thread looks."""

    def __init__(self, sources: Iterable[Source], clock: Clock) -> None:
        self._watched = [_Watched(source) for source in sources]
        self._clock = clock

    def look(self) -> Snapshot:
        """Read what is due now. Never raises: an unread value is None, and `Snapshot.unread` says why."""
        readings: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        for watched in self._watched:
            watched.ask(self._clock.now_s())
            readings |= watched.readings
            origins |= watched.origins
        if _is_tighter(readings.get("memory_cgroup_bytes"), readings.get("memory_available_bytes")):
            readings["memory_available_bytes"] = readings["memory_cgroup_bytes"]
            origins["memory_available_bytes"] = origins["memory_cgroup_bytes"]
        return Snapshot(
            at_s=self._clock.now_s(),
            cpu_count=readings.pop("cpu_count", None) or os.cpu_count() or 1,
            unread=tuple(watched.unread for watched in self._watched if watched.unread is not None),
            origins=origins,
            **readings,
        )

    def close(self) -> None:
        """End the threads of the sources that have one."""
        for watched in self._watched:
            watched.close()

    @staticmethod
    def of_this_machine(clock: Clock, board: BoardConfig) -> Monitor:
        """A monitor with the sources that a Linux board may have, read where the configuration says."""
        return Monitor(sources_of(clock, board), clock)


class _Watched:
    """A source, what it last said, and when it is asked again."""

    def __init__(self, source: Source) -> None:
        self.readings: Readings = {}
        """Those that are not None."""
        self.origins: dict[str, Origin] = {}
        self.unread: Unread | None = None
        self._source = source
        self._asked_s: float | None = None
        self._next_s = 0.0
        self._retry_s = FIRST_RETRY_S
        self._told_s: float | None = None
        self._is_told = False

    def ask(self, now_s: float) -> None:
        """Read the source, if it is due. A clock that went back makes it due: nobody knows for how long it is not."""
        if self._asked_s is not None and self._asked_s <= now_s < self._next_s:
            return
        self._asked_s = now_s
        try:
            answer = self._source.read()
        except Exception as error:  # whatever a source stumbles over, the board still has to be served
            self._fails(now_s, f"{type(error).__name__}: {error}")
        else:
            self._answers(now_s, answer)

    def close(self) -> None:
        """End the source's thread, where it has one."""
        if isinstance(self._source, Aside):
            self._source.close()

    def _answers(self, now_s: float, answer: Readings) -> None:
        self.readings = {name: value for name, value in answer.items() if value is not None}
        read_s = self._source.read_at_s if isinstance(self._source, Aside) else now_s
        origin = Origin(self._source.name, now_s if read_s is None else read_s)
        self.origins = dict.fromkeys(self.readings, origin)
        self._next_s, self._retry_s = now_s + self._source.every_s, FIRST_RETRY_S
        if self.unread is not None and self._is_told:
            log.info("source_back", source=self._source.name, after_s=round(now_s - self.unread.since_s, 1))
        self.unread = None

    def _fails(self, now_s: float, reason: str) -> None:
        self.readings, self.origins = {}, {}
        self._next_s = now_s + self._retry_s
        if self.unread is None:
            self._tell(now_s, reason)
        since_s = now_s if self.unread is None else min(self.unread.since_s, now_s)
        self.unread = Unread(self._source.name, reason, since_s, self._next_s)
        self._retry_s = min(LAST_RETRY_S, 2 * self._retry_s)

    def _tell(self, now_s: float, reason: str) -> None:
        self._is_told = self._told_s is None or not 0 <= now_s - self._told_s < TOLD_AGAIN_S
        if self._is_told:
            self._told_s = now_s
            log.warning("source_unread", source=self._source.name, reason=reason, retry_s=self._retry_s)


def _is_tighter(limit_bytes: int | None, than_bytes: int | None) -> bool:
    return limit_bytes is not None and (than_bytes is None or limit_bytes < than_bytes)
