"""Processes that take processor time and nothing else, and that nobody finds afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blockprofiles.hogs import Hog, hogs

PARENT = """
import os, signal, sys
from blockprofiles.hogs import Hog
hog = Hog()
hog.wait_until_ready()
hog.burn(0.05)
print(hog.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[str]:
    """Of this process."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_hog_burns_for_as_long_as_it_is_told() -> None:
    """And says how much of that it got: all of it but for what others took."""
    with hogs(1) as (hog,):
        for _ in range(2):
            hog.burn(0.05)
            assert 0 < hog.used_s() <= 0.06


def test_none_is_left_when_the_measuring_fails() -> None:
    """They end with the block."""
    before = children()

    def fail() -> None:
        with hogs(2) as started:
            started[0].burn(4.0)
            raise ValueError("bad")

    began_s = time.monotonic()
    with pytest.raises(ValueError, match="bad"):
        fail()
    assert time.monotonic() - began_s < 4.0
    assert children() <= before


def test_none_is_left_when_the_parent_is_killed() -> None:
    """It burns to the end of what it was told, finds that nobody tells it more, and ends."""
    done = subprocess.run([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline_s = time.monotonic() + 20
    while runs(int(done.stdout)) and time.monotonic() < deadline_s:
        os.sched_yield()
    assert not runs(int(done.stdout))


def test_a_hog_that_has_died_is_an_error_at_once() -> None:
    """Not a wait for ever."""
    hog = Hog()
    try:
        hog.wait_until_ready()
        os.kill(hog.pid, signal.SIGKILL)
        with pytest.raises(OSError, match=r"said nothing|Broken pipe"):
            hog.burn(0.01)
    finally:
        hog.close()
