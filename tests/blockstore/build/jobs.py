"""Jobs for worker processes; importing this is cheap."""

from __future__ import annotations

import os
import signal
import threading

from blockstore.build.progress import Progress
from blockstore.errors import CannotBuild


def count(steps: int, progress: Progress) -> None:
    for done in range(1, steps + 1):
        progress("count", done, steps)


def environment(name: str, progress: Progress) -> None:
    progress("environment", 1, 1, os.environ.get(name, "absent"))


def refuse(progress: Progress) -> None:
    raise CannotBuild("the ratio is 2: at most 1")


def fail(progress: Progress) -> None:
    raise ZeroDivisionError("a fault")


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(progress: Progress) -> None:
    os._exit(3)


def hang(progress: Progress) -> None:
    """Say so, then wait for ever; SIGTERM is not heeded."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    progress("hang", 0, 1)
    threading.Event().wait()
