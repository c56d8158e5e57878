"""One profiler process: started with its job, listened to, and ended when it says nothing for too long.

Blocks of a store are foreign code to the daemon: one that crashes or hangs in a native library must take nothing with
it. What runs them is a process of its own, in a group of its own, which is killed whole.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Generic, TypeVar

SILENCE_S: Final = 20.0
"""After so long without an event the process hangs. It tells each blob that it begins and each round that it ends, so
that only one native call is behind a silence; the time that it waits for a core does not count."""
START_FACTOR: Final = 3.0
"""The first event may take so many times longer: libraries are read from a slow card."""
SAID_BYTES: Final = 4096
"""Of its standard error so much is kept, the newest."""
LINE_LIMIT_BYTES: Final = 64 * 2**20
"""A line that is longer is no event: what was read of it is let go."""
_CHUNK_BYTES: Final = 2**16
_REAP_S: Final = 5.0


E = TypeVar("E")
"""What a line of the process says."""


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended."""

    code: int
    """Exit code; minus the number of the signal that ended it."""
    silent_s: float | None
    """The limit that it was killed for; None where nobody here killed it for its silence."""
    said: str
    """The end of its standard error."""


class ProfilerProcess(Generic[E]):
    """A context manager; leaving it kills what still runs. One thread reads; any may `kill`."""

    def __init__(
        self,
        command: Sequence[str],
        job: bytes,
        parse: Callable[[bytes], E | None],
        *,
        now: Callable[[], float],
        silence_s: float = SILENCE_S,
        proc: Path = Path("/proc"),
    ) -> None:
        """Start `command` with `job` as its standard input; OSError where no process can be started.

        Args:
            command: what to start.
            job: its standard input.
            parse: the event of a line; None for a line that is none, such as what a library printed.
            now: monotonic seconds.
            silence_s: limit of silence.
            proc: root of procfs(5).
        """
        self.end: End | None = None
        """How it ended; None while it runs."""
        self._parse, self._now, self._silence_s, self._proc = parse, now, silence_s, proc
        self._lock = threading.Lock()
        self._reaped = False
        self._line, self._said = b"", b""
        self._process = _started(command, job)
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._limit_s = START_FACTOR * silence_s
        self._heard()

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def __enter__(self) -> ProfilerProcess[E]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._reap()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def read(self, timeout_s: float) -> list[E]:
        """The events that came since the last call, after waiting up to `timeout_s` for one; sets `end` with the last.

        A process that has been silent for too long is killed.
        """
        if self.end is not None:
            return []
        # Asked before the pipes are emptied, so that what it said last is not lost.
        ended = self._has_ended()
        events = self._events(0.0 if ended else timeout_s)
        if events:
            self._limit_s = self._silence_s
            self._heard()
        if ended:
            self.end = self._ended(None)
        elif self._silent_s() > self._limit_s:
            self.kill()
            self.end = self._ended(self._limit_s)
        return events

    def kill(self) -> None:
        """End it and every process that it has started, at once; no matter if it has ended already."""
        with self._lock:
            if not self._reaped:
                # Its number is not given to others before it is reaped.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self, silent_s: float | None) -> End:
        self.kill()  # what it started may outlive it
        self._reap()
        code = self._process.returncode
        return End(-signal.SIGKILL if code is None else code, silent_s, self._said.decode(errors="replace").strip())

    def _has_ended(self) -> bool:
        """Whether it has ended, without reaping it: its group is killed first."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> None:
        # One that sits in a system call that cannot be interrupted is left to the kernel.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._reaped else _REAP_S)
        with self._lock:
            self._reaped = True

    def _events(self, timeout_s: float) -> list[E]:
        events: list[E] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._process.stderr:
                self._said = (self._said + self._available(self._process.stderr))[-SAID_BYTES:]
            elif self._process.stdout is not None:
                *lines, self._line = (self._line + self._available(self._process.stdout)).split(b"\n")
                events += [event for line in lines if (event := self._parse(line)) is not None]
                if len(self._line) > LINE_LIMIT_BYTES:
                    self._line = b""
        return events

    def _available(self, stream: IO[bytes]) -> bytes:
        """All that can be read now; a stream that has ended is not looked at again."""
        parts: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(stream.fileno(), _CHUNK_BYTES):
                parts.append(part)
                if len(parts) * _CHUNK_BYTES > LINE_LIMIT_BYTES:
                    return b"".join(parts)
            self._selector.unregister(stream)
        return b"".join(parts)

    def _heard(self) -> None:
        self._heard_s, self._waited_s = self._now(), core_wait_s(self._process.pid, self._proc)

    def _silent_s(self) -> float:
        """Since the last event, without the time that the process waited for a core."""
        silent_s = self._now() - self._heard_s
        if silent_s <= self._limit_s:
            return silent_s
        return silent_s - (core_wait_s(self._process.pid, self._proc) - self._waited_s)


def core_wait_s(pid: int, proc: Path) -> float:
    """Seconds that the main thread of a process was ready to run and had no core; 0 where the kernel does not tell.

    Second number of `/proc/PID/schedstat`, in ns (Documentation/scheduler/sched-stats.rst).
    """
    try:
        return int((proc / str(pid) / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _started(command: Sequence[str], job: bytes) -> subprocess.Popen[bytes]:
    """The process, in a session of its own. The job is a file in memory, so that nobody waits until it is read."""
    descriptor = os.memfd_create("profile-job")
    with os.fdopen(descriptor, "r+b") as file:
        file.write(job)
        file.flush()
        file.seek(0)
        return subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
