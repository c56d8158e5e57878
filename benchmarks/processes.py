"""Helper processes of benchmarks: told by lines, heard as lines of JSON, never waited for without a limit."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
END_TIMEOUT_S = 10.0


class Helper:
    """A process that obeys lines of its standard input, and ends when that closes; a context manager."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start `command` in the checkout, so that `-m benchmarks.NAME` is found by any interpreter."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self._what = " ".join(command)

    def tell(self, line: str) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, timeout_s: float) -> Any:
        """The next line, decoded. Raises RuntimeError, and kills, where none comes within `timeout_s`."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(timeout_s, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line.endswith("\n"):
            raise RuntimeError(f"no answer within {timeout_s:g} s, or it ended, of: {self._what}")
        return json.loads(line)

    def close(self) -> None:
        """Let it end; kill it where it does not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended
            self.process.stdin.close()
        ended(self.process)
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ended(process: subprocess.Popen[Any], *, terminate: bool = False) -> None:
    """Wait for a process, told to with `terminate`; kill it, and what it has started and left, where it stays."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    if terminate:
        process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_TIMEOUT_S)
    for child in children:
        if child.is_running():
            child.kill()
