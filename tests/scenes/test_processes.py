"""Hogs and clients end with their player, however that ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from schedulerd.scenes.processes import Hogs, usage

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
PLAYER = """
import sys
from schedulerd.scenes.processes import Hogs
hogs = Hogs()
hogs.set(2)
print(*(p.pid for p in hogs._processes), flush=True)
sys.stdin.read()
"""


def until(holds: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < end_s:
        threading.Event().wait(0.02)
    return holds()


def is_gone(pid: int) -> bool:
    """No such process, or one that only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_hogs_burn_until_there_are_to_be_fewer() -> None:
    hogs = Hogs()
    try:
        hogs.set(2)
        (first, second) = [process.pid for process in hogs._processes]
        assert until(lambda: usage(first)[1] > 0.05)
        hogs.set(1)
        assert is_gone(second)
        assert not is_gone(first)
    finally:
        hogs.set(0)
    assert is_gone(first)
    assert len(hogs) == 0


def test_hogs_do_not_outlive_a_player_that_was_killed() -> None:
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "profiles", "clients/python"))
    with subprocess.Popen(
        [sys.executable, "-c", PLAYER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as player:
        assert player.stdout is not None
        pids = list(map(int, player.stdout.readline().split()))
        player.kill()
    assert len(pids) == 2
    assert until(lambda: all(map(is_gone, pids)))
