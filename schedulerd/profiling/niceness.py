"""Measuring in the background: behind everything else on the board, and the first to go where memory runs out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NICEST: Final = 19
FIRST_TO_GO: Final = 1000
"""The highest there is (proc_pid_oom_score_adj(5)): a kernel without memory ends this process, and not the daemon."""
OOM_SCORE_ADJ: Final = Path("/proc/self/oom_score_adj")


def stand_back() -> None:
    """Let this process, and those that it starts, have only time that nobody else wants (SCHED_IDLE, sched(7)).

    Where memory runs out they are ended first.
    """
    # A sandbox may forbid any of these.
    with contextlib.suppress(OSError):
        OOM_SCORE_ADJ.write_text(str(FIRST_TO_GO))
    with contextlib.suppress(OSError):
        os.nice(NICEST)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
