"""Where a profile is measured: the cores that a lane would have, and behind everything else when in the background."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from blockprofiles.conditions import SYS

NICEST = 19


def lane_cores(threads: int, cores: Collection[int], sys: Path = SYS) -> frozenset[int]:
    """As many of `cores` as a lane has threads: the fastest, and of equal ones the last, as core 0 has the interrupts.

    cpufreq/cpuinfo_max_freq: Documentation/admin-guide/pm/cpufreq.rst; kernels without it count as equal cores.
    """

    def rank(core: int) -> tuple[float, int]:
        try:
            khz = float((sys / f"devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq").read_text())
        except (OSError, ValueError):
            khz = 0.0
        return khz, core

    return frozenset(sorted(cores, key=rank, reverse=True)[:threads])


def stand_back() -> None:
    """Let this process, and those that it starts, have only time that nobody else wants (SCHED_IDLE, sched(7))."""
    # A sandbox may forbid either.
    with contextlib.suppress(OSError):
        os.nice(NICEST)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
