"""What `schedctl top` costs: processor time of its process on a terminal of its own, at two looks a second."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Target
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client

EVERY_S = 0.5
SETTLE_S = 3.0
"""The start of the program is not looked at."""
FIGURES = ("top_core_percent",)


def measure(folder: Path, seconds: float) -> dict[str, Figure]:
    """With three apps, over so many seconds."""
    state, runtime = folder / "state", folder / "run"
    store = demo_store(state)
    with daemon(store, state, runtime) as control, ExitStack() as apps:
        for model in control.models()["models"]:
            apps.enter_context(Client(runtime)).register(model["model"], budget_ms=100, rate_hz=10)
        return {"top_core_percent": Figure(_percent(runtime, seconds), "% of a core", Target("<=", 3))}


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
