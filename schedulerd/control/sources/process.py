"""What this process takes of the board: resident memory and processor time."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

from schedulerd.clock import Clock
from schedulerd.control.sources.base import PROC, Readings, read_text
from schedulerd.control.sources.window import Window

_STATM: Final = PROC / "self" / "statm"
"""Of the kernel, whatever board is played: this process is not played."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Usage(Protocol):
    """Resident bytes and processor seconds of a process so far."""

    def __call__(self) -> tuple[int, float]:
        """`(resident_bytes, cpu_s)`."""
        ...


def own_usage() -> tuple[int, float]:
    """Of the process that calls this, with all its threads: the second column of proc_pid_statm(5) counts pages."""
    return int(read_text(_STATM).split()[1]) * _PAGE_BYTES, time.process_time()


class ProcessSource:
    """Own resident set, and own share of all cores during the last second or so; that share is first None."""

    name = "process"
    every_s = 0.0

    def __init__(self, clock: Clock, usage: Usage = own_usage, cpu_count: int | None = None) -> None:
        self._clock = clock
        self._usage = usage
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
