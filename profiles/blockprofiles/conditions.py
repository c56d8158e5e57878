"""Under what conditions something was measured: clock and temperature of the core, and what other programs took.

What the kernel does not tell is None. The roots of procfs(5) and sysfs(5) are arguments.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from blockprofiles.energy import Sensor, find_sensor
from blockprofiles.pseudofile import number_of, read_number, read_text

PROC: Final = Path("/proc")
SYS: Final = Path("/sys")
_PLAUSIBLE_C: Final = (-40.0, 150.0)
"""A zone without a sensor reads as -273 or some large number on some boards."""
_COUNTED, _IDLE, _IOWAIT = 8, 3, 4
"""Of proc_stat(5): user nice system idle iowait irq softirq steal; the guest counters that follow are in user and nice.
Steal counts as taken by others: a hypervisor gave the core away."""
_LEAST_TICKS: Final = 20
"""Of all cores together; a share of fewer says nothing, because a tick is charged whole to whoever it finds."""


class Others(Protocol):
    """Tells what other programs take of the cores."""

    def look(self) -> float | None:
        """Share since the look before, 0 to 1; None where it cannot be told, or not yet."""
        ...

    def restart(self) -> None:
        """Forget what was until now."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What can be told about a board while something is measured on it."""

    core: int
    """To measure on."""
    others: Others
    sensor: Sensor | None = None
    proc: Path = PROC
    sys: Path = SYS

    def clock_mhz(self) -> float | None:
        """Of the core, now."""
        return clock_mhz(self.core, self.proc, self.sys)

    def temperature_c(self) -> float | None:
        """Of the hottest zone, now."""
        return temperature_c(self.sys)


def conditions_here(now: Callable[[], float]) -> Conditions:
    """Of this board; `now` counts seconds."""
    (core,) = fastest_cores(1, os.sched_getaffinity(0))
    return Conditions(core, OthersWatch(), find_sensor(now))


def fastest_cores(count: int, cores: Collection[int], sys: Path = SYS) -> frozenset[int]:
    """So many of `cores`: the fastest, and of equal ones the last, as core 0 has the interrupts.

    cpufreq/cpuinfo_max_freq: Documentation/admin-guide/pm/cpufreq.rst; cores of kernels without it count as equal.
    """

    def rank(core: int) -> tuple[float, int]:
        return read_number(sys / f"devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq") or 0.0, core

    return frozenset(sorted(cores, key=rank, reverse=True)[:count])


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """The calling thread, and those that it starts, stay on `cores`; pools that it has already are not moved."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def clock_mhz(core: int, proc: Path = PROC, sys: Path = SYS) -> float | None:
    """The clock of `core` now: by cpufreq, else as /proc/cpuinfo has it on x86."""
    khz = read_number(sys / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")
    return khz / 1e3 if khz is not None else _cpuinfo_mhz(core, proc)


def temperature_c(sys: Path = SYS) -> float | None:
    """Of the hottest thermal zone (Documentation/driver-api/thermal/sysfs-api.rst)."""
    readings = [read_number(path) for path in (sys / "class/thermal").glob("thermal_zone*/temp")]
    low, high = _PLAUSIBLE_C
    plausible = [r / 1e3 for r in readings if r is not None and low <= r / 1e3 <= high]
    return max(plausible, default=None)


class OthersWatch:
    """Share of the cores' time that other programs had, steal included, since the look before."""

    def __init__(
        self,
        cores: Collection[int] | None = None,
        proc: Path = PROC,
        own_s: Callable[[], float] = time.process_time,
        ticks_per_s: float | None = None,
    ) -> None:
        """Of `cores`, None for those that we may use; `own_s` gives the processor seconds of this process."""
        self._labels = {f"cpu{core}" for core in (os.sched_getaffinity(0) if cores is None else cores)}
        self._path = proc / "stat"
        self._own_s = own_s
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._before = self._now()

    def look(self) -> float | None:
        """0 to 1, and the next look begins here; None where it cannot be read, or too little time has passed."""
        now = self._now()
        if now is None or self._before is None:
            return None
        (total, busy, own), (total_before, busy_before, own_before) = now, self._before
        passed = total - total_before
        if passed < _LEAST_TICKS:
            return None
        self._before = now
        return min(1.0, max(0.0, (busy - busy_before) - (own - own_before)) / passed)

    def restart(self) -> None:
        """Forget what was until now."""
        self._before = self._now()

    def _now(self) -> tuple[float, float, float] | None:
        """Ticks so far: of all cores, of those the busy ones, and our own."""
        try:
            lines = [line.split() for line in self._path.read_text().splitlines()]
            cores = [list(map(int, fields[1 : 1 + _COUNTED])) for fields in lines if fields[0] in self._labels]
            total, idle = sum(map(sum, cores)), sum(sum(core[_IDLE : _IOWAIT + 1]) for core in cores)
        except (OSError, ValueError, IndexError):
            return None
        return total, total - idle, self._own_s() * self._ticks_per_s


def _cpuinfo_mhz(core: int, proc: Path) -> float | None:
    text = read_text(proc / "cpuinfo") or ""
    for entry in text.split("\n\n"):
        pairs = [line.partition(":") for line in entry.splitlines()]
        values = {key.strip(): value.strip() for key, _, value in pairs}
        if values.get("processor") == str(core) and "cpu MHz" in values:
            return number_of(values["cpu MHz"])
    return None
