"""Asks every source once and freezes the answers: the first stage of the control loop.

A source that fails is named in the snapshot, with the reason; the others are read all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from schedulerd.clock import Clock
from schedulerd.control.snapshot import Snapshot, Unread
from schedulerd.control.sources.base import CGROUP, PROC, Source
from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.memory import MemorySource
from schedulerd.control.sources.process import ProcessSource
from schedulerd.control.sources.processor import ProcessorSource


class Monitor:
    """Owns the sources; one thread looks."""

    def __init__(self, sources: Iterable[Source], clock: Clock) -> None:
        self._sources = tuple(sources)
        self._clock = clock

    def look(self) -> Snapshot:
        """Read all sources now. Never raises: an unread value is None, and `Snapshot.unread` says why."""
        readings: dict[str, Any] = {}
        unread: list[Unread] = []
        for source in self._sources:
            try:
                readings |= {name: value for name, value in source.read().items() if value is not None}
            except Exception as error:  # whatever a source stumbles over, the board still has to be served
                unread.append(Unread(source.name, f"{type(error).__name__}: {error}"))
        return Snapshot(
            at_s=self._clock.now_s(),
            cpu_count=readings.pop("cpu_count", None) or os.cpu_count() or 1,
            memory_available_bytes=_least(
                readings.pop("memory_available_bytes", None), readings.get("memory_cgroup_bytes")
            ),
            unread=tuple(unread),
            **readings,
        )

    @staticmethod
    def of_this_machine(clock: Clock, proc: Path = PROC, cgroup: Path = CGROUP) -> Monitor:
        """A monitor with the sources that every Linux board has."""
        sources = (
            ProcessorSource(clock, proc),
            ProcessSource(clock),
            MemorySource(proc),
            CgroupSource(proc, cgroup),
        )
        return Monitor(sources, clock)


def _least(*amounts: int | None) -> int | None:
    return min((n for n in amounts if n is not None), default=None)
