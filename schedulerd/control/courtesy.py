"""How threads beside the lanes share the cores with them."""

from __future__ import annotations

import contextlib
import os
import threading


def preempt_nobody() -> None:
    """Let this thread, and those that it starts, wait for a core when they wake instead of taking it from a frame.

    SCHED_BATCH (sched(7)) keeps the thread's share of the processor. A lower priority would take from that as well, and
    a thread that holds the interpreter and gets no core holds up every lane.
    """
    # A sandbox may forbid it; then it is as before.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))
