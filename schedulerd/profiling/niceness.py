"""Measuring in the background: behind everything else on the board."""

from __future__ import annotations

import contextlib
import os
from typing import Final

NICEST: Final = 19


def stand_back() -> None:
    """Let this process, and those that it starts, have only time that nobody else wants (SCHED_IDLE, sched(7))."""
    # A sandbox may forbid either.
    with contextlib.suppress(OSError):
        os.nice(NICEST)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
