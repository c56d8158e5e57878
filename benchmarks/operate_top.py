"""What `schedctl top` costs: processor time of its process on a terminal of its own, at two looks a second."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from benchmarks.harness import Figure, Target
from benchmarks.operate_served import three_apps

EVERY_S = 0.5
SETTLE_S = 3.0
"""The start of the program is not looked at."""
FIGURES = ("top_core_percent",)


def measure(folder: Path, seconds: float) -> dict[str, Figure]:
    """With three apps, over so many seconds."""
    with three_apps(folder) as served:
        return {"top_core_percent": Figure(_percent(served.runtime, seconds), "% of a core", Target("<=", 3))}


def _percent(runtime: Path, seconds: float) -> float:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "schedulerd.ctl", "--runtime", str(runtime), "top", "--interval", str(EVERY_S)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.STDOUT, env=environment)
    os.close(slave)
    reader = threading.Thread(target=_drain, args=(master,), daemon=True)
    reader.start()
    try:
        time.sleep(SETTLE_S)
        watched = psutil.Process(process.pid)
        before, began_s = watched.cpu_times(), time.monotonic()
        time.sleep(seconds)
        after = watched.cpu_times()
        used_s = after.user + after.system - before.user - before.system
        share = used_s / (time.monotonic() - began_s)
        os.write(master, b"q")
        if process.wait(10.0) != 0:
            raise RuntimeError(f"schedctl top ended with {process.returncode}")
        return 100 * share
    finally:
        process.kill()
        process.wait(10.0)
        os.close(master)


def _drain(master: int) -> None:
    """Read what is drawn, as a terminal does."""
    while True:
        try:
            if not os.read(master, 65536):
                return
        except OSError:
            return
