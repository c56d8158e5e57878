"""Processes that stand still (SIGSTOP, a debugger): their sockets are open, and nobody reads what they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 0.5
LOOKS: Final = 4
"""In a row that must find a process stopped: for 1.5 to 2 s, about what ZeroMQ's heartbeats allow it."""
_STOPPED: Final = (b"T", b"t")
"""Stopped, and stopped by a debugger (proc_pid_stat(5), "state")."""


class StoppedWatch:
    """How often in a row each client's process was found stopped."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        """Nothing has been seen yet. `proc`: where the kernel describes processes."""
        self._proc = proc
        self._looks: dict[bytes, int] = {}

    def look(self, silent: Mapping[bytes, int | None]) -> list[bytes]:
        """Those to give up, of the clients that have sent nothing since the last look and their process ids.

        A look costs some 10 µs for each of them.
        """
        stopped = (identity for identity, pid in silent.items() if pid is not None and self._is_stopped(pid))
        self._looks = {identity: self._looks.get(identity, 0) + 1 for identity in stopped}
        return [identity for identity, looks in self._looks.items() if looks >= LOOKS]

    def _is_stopped(self, pid: int) -> bool:
        try:
            line = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            # The process has ended, or is hidden from us; its socket tells what matters.
            return False
        # The name is in brackets and may have some of its own.
        return line[line.rfind(b")") + 2 :].startswith(_STOPPED)
