"""Programs that do nothing but take processor time, for the profile to measure beside.

A hog is a child process that burns for as many seconds as each line on its standard input says, at most `LIMIT_S`, and
ends when that is closed: also when its parent was killed, so none is left behind.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import IO, Final

LIMIT_S: Final = 5.0
_START_S: Final = 10.0
"""For an interpreter to start on a slow board that is busy."""
_STOP_S: Final = 2.0
_PROGRAM: Final = f"""
import sys, time
print(flush=True)
for line in sys.stdin:
    used_s, end_s = time.process_time(), time.monotonic() + min(float(line), {LIMIT_S})
    print(flush=True)
    while time.monotonic() < end_s:
        pass
    print(time.process_time() - used_s, flush=True)
"""


class Hog:
    """One such process. OSError where none can be started, `TimeoutError` where it does not answer."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid

    def wait_until_ready(self) -> None:
        """Returns when it has started."""
        self._line(_START_S)

    def burn(self, seconds: float) -> None:
        """Returns as soon as it burns, for `seconds`."""
        print(seconds, file=_open(self._process.stdin), flush=True)
        self._line(_START_S)

    def used_s(self) -> float:
        """Waits until it has burnt; the processor time that it got, in seconds."""
        return float(self._line(LIMIT_S + _START_S))

    def close(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait(_STOP_S)
        for stream in (self._process.stdin, self._process.stdout):
            # What it was told and did not read any more cannot be flushed.
            with contextlib.suppress(BrokenPipeError):
                _open(stream).close()

    def _line(self, timeout_s: float) -> str:
        """Its next line. It writes whole lines, so that one that has begun is there."""
        stream = _open(self._process.stdout)
        ready, _, _ = select.select([stream], [], [], timeout_s)
        line = stream.readline() if ready else ""
        if not line:
            raise TimeoutError(f"a hog of the profile said nothing for {timeout_s} s")
        return line


@contextmanager
def hogs(count: int) -> Iterator[Sequence[Hog]]:
    """So many of them, on the cores of the thread that asks, ended with the block."""
    with ExitStack() as stack:
        started = [stack.enter_context(closing(Hog())) for _ in range(count)]
        for hog in started:
            hog.wait_until_ready()
        yield started


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
