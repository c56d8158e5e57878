"""How busy the cores are, whoever uses them: /proc/stat, as proc_stat(5) describes it."""

from __future__ import annotations

import os
from pathlib import Path

from schedulerd.clock import Clock
from schedulerd.control.sources.base import PROC, Readings, read_text
from schedulerd.control.sources.window import Window

# user nice system idle iowait irq softirq steal; the guest and guest_nice that follow are in user and nice.
_COUNTED = 8
_NICE, _IDLE, _IOWAIT = 1, 3, 4


class ProcessorSource:
    """Shares of all cores in use during the last second or so; None on the first reading."""

    name = "processor"
    every_s = 0.0

    def __init__(self, clock: Clock, proc: Path = PROC, niceness: int | None = None) -> None:
        """A source that has read nothing yet; `niceness`: of this process, None to ask for it."""
        self._clock = clock
        self._path = proc / "stat"
        self._is_nice = (os.getpriority(os.PRIO_PROCESS, 0) if niceness is None else niceness) > 0
        self._window: Window[tuple[int, ...]] = Window()

    def read(self) -> Readings:
        """`cpu_count`, `cpu_busy` and `cpu_nice`."""
        lines = read_text(self._path).splitlines()
        now = _jiffies(lines)
        before = self._window.before(self._clock.now_s(), now)
        cores = sum(line.startswith("cpu") for line in lines) - 1
        shares = None if before is None else _shares(before[1], now)
        return {
            "cpu_count": cores or None,
            "cpu_busy": None if shares is None else 1 - sum(shares[_IDLE : _IOWAIT + 1]),
            # Where this process is nice itself, its own time is in there, and that of those who do not make way for it.
            "cpu_nice": None if shares is None or self._is_nice else shares[_NICE],
        }


def _jiffies(lines: list[str]) -> tuple[int, ...]:
    label, *counts = lines[0].split() if lines else [""]
    if label != "cpu" or len(counts) <= _IDLE:
        raise ValueError(f"first line is {lines[:1]}, expected 'cpu' and its counters")
    return tuple(map(int, counts[:_COUNTED]))


def _shares(before: tuple[int, ...], now: tuple[int, ...]) -> list[float] | None:
    """Of the jiffies between two readings, how many were of each kind; None when none have passed.

    Steal counts as busy: a hypervisor gave those cores away, so that we cannot have them. A counter may
    step back (proc_stat(5) says so of iowait, and a core that goes offline takes its counts along); such a
    step counts 0.
    """
    passed = [max(0, b - a) for a, b in zip(before, now, strict=True)]
    total = sum(passed)
    return [jiffies / total for jiffies in passed] if total else None
