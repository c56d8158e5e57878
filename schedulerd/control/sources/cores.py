"""How busy each core is and how fast it runs: /proc/stat (proc_stat(5)) and cpufreq (admin-guide/pm/cpufreq).

Apart from `processor`, which reads the same file more often: what garbles a clock must not hide how busy the board is.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Core
from schedulerd.control.sources.base import PROC, SYS, Readings, read_text
from schedulerd.control.sources.clocks import Policy, policies
from schedulerd.control.sources.seldom import Seldom
from schedulerd.control.sources.sysfs import optional_number, optional_text
from schedulerd.control.sources.window import Window

_NOT_NOW: Final = (errno.EAGAIN, errno.EBUSY)
"""What a read of a clock says while the core sleeps."""

Jiffies = Mapping[int, tuple[int, int]]
"""By core: so many in use, and so many not."""


class _Shared(NamedTuple):
    """A clock, its cores, and what of it hardly changes."""

    policy: Policy
    cores: tuple[int, ...]
    most_hz: float | None
    governor: str | None


class CoreSource:
    """The cores that are online, by number, which may have gaps; how busy they are is None on the first reading."""

    name = "cores"
    every_s = 0.4

    def __init__(self, clock: Clock, proc: Path = PROC, sys: Path = SYS) -> None:
        self._clock = clock
        self._path = proc / "stat"
        self._clocks = Seldom(clock, lambda: [_shared(policy) for policy in policies(sys)])
        self._window: Window[Jiffies] = Window()

    def read(self) -> Readings:
        """`cores`."""
        now = _jiffies(read_text(self._path))
        before = self._window.before(self._clock.now_s(), now)
        then = {} if before is None else before[1]
        cores = {number: Core(number, _busy(then.get(number), counts)) for number, counts in sorted(now.items())}
        for shared in self._clocks.get():
            clock_hz, wanted_hz = _clock_and_wanted_hz(shared.policy)
            for number in cores.keys() & set(shared.cores):
                cores[number] = replace(
                    cores[number],
                    clock_hz=clock_hz,
                    wanted_hz=wanted_hz,
                    most_hz=shared.most_hz,
                    governor=shared.governor,
                )
        return {"cores": tuple(cores.values())}


def _jiffies(text: str) -> Jiffies:
    """From lines `cpu3 user nice system idle iowait irq softirq steal ...`; guests are counted in user and nice."""
    found: dict[int, tuple[int, int]] = {}
    for line in text.splitlines():
        if not line.startswith("cpu"):
            break  # those of the cores come first
        label, *counts = line.split()
        if label != "cpu":
            user, nice, system, idle, *rest = map(int, counts[:8])
            found[int(label[3:])] = user + nice + system + sum(rest[1:]), idle + sum(rest[:1])
    if not found:
        raise ValueError(f"there is no line of a core in {text[:80]!r}")
    return found


def _busy(then: tuple[int, int] | None, now: tuple[int, int]) -> float | None:
    """A counter that steps back, as iowait may and each of a core that was offline, counts 0."""
    if then is None:
        return None
    used, idle = max(0, now[0] - then[0]), max(0, now[1] - then[1])
    return used / (used + idle) if used or idle else None


def _shared(policy: Policy) -> _Shared:
    folder = policy.wanted.parent
    cores = tuple(map(int, (optional_text(folder / "affected_cpus") or "").split()))
    return _Shared(policy, cores, _hz(policy.most), optional_text(folder / "scaling_governor"))


def _clock_and_wanted_hz(policy: Policy) -> tuple[float | None, float | None]:
    """The clock alone where nothing counts it: it is then as it was set, or measured in place of what was asked for."""
    wanted_hz = _hz(policy.wanted)
    counted_hz = None if policy.actual is None else _counted_hz(policy.actual)
    return (wanted_hz, None) if counted_hz is None else (counted_hz, wanted_hz)


def _counted_hz(path: Path) -> float | None:
    try:
        return None if optional_text(path) == "<unknown>" else _hz(path)
    except OSError as error:
        if error.errno in _NOT_NOW:
            return None
        raise


def _hz(path: Path) -> float | None:
    """Files hold kHz; None where there is no such file, and for 0, which some drivers write for one that is unknown."""
    clock_khz = optional_number(path)
    if clock_khz is not None and clock_khz < 0:
        raise ValueError(f"{path} says {clock_khz}, expected a clock in kHz")
    return clock_khz * 1e3 if clock_khz else None
