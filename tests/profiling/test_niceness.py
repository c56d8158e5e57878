"""Measuring behind everything else."""

from __future__ import annotations

import subprocess
import sys


def test_in_the_background_it_has_only_time_that_nobody_wants_and_memory_that_nobody_needs() -> None:
    program = (
        "import os; from schedulerd.profiling.niceness import stand_back; stand_back();"
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE,"
        "open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["19", "True", "1000"]
