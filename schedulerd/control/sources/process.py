"""What this process takes of the board: resident memory and processor time, by psutil."""

from __future__ import annotations

import os
from typing import Protocol

import psutil

from schedulerd.clock import Clock
from schedulerd.control.sources.base import Readings
from schedulerd.control.sources.window import Window


class Usage(Protocol):
    """Resident bytes and processor seconds of a process so far."""

    def __call__(self) -> tuple[int, float]:
        """`(resident_bytes, cpu_s)`."""
        ...


def own_usage() -> Usage:
    """The usage of the process that calls this."""
    process = psutil.Process()

    def usage() -> tuple[int, float]:
        with process.oneshot():
            times = process.cpu_times()
            return process.memory_info().rss, times.user + times.system

    return usage


class ProcessSource:
    """Own resident set, and own share of all cores during the last second or so; that share is first None."""

    name = "process"

    def __init__(self, clock: Clock, usage: Usage | None = None, cpu_count: int | None = None) -> None:
        self._clock = clock
        self._usage = usage or own_usage()
        self._cpu_count = cpu_count or os.cpu_count() or 1
        self._window: Window[float] = Window()

    def read(self) -> Readings:
        """`memory_own_bytes` and `cpu_own`."""
        resident_bytes, cpu_s = self._usage()
        now_s = self._clock.now_s()
        before = self._window.before(now_s, cpu_s)
        return {"memory_own_bytes": resident_bytes, "cpu_own": self._share(before, now_s, cpu_s)}

    def _share(self, before: tuple[float, float] | None, now_s: float, cpu_s: float) -> float | None:
        if before is None or now_s <= before[0] or cpu_s < before[1]:
            return None
        return min(1.0, (cpu_s - before[1]) / (now_s - before[0]) / self._cpu_count)
