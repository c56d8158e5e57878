"""Real daemons for tests: a process on real sockets, serving the shipped store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from schedulerd_client import ControlClient, SchedulerdClientError

PATIENCE_S = 60.0
"""For things that take a second or two on a quiet machine."""

CONFIG = """
[profile]
seconds = 1.0
[log]
format = "json"
"""

T = TypeVar("T")


def until(what: str, look: Callable[[], T | None]) -> T:
    """Look again and again until there is something to see; fails after `PATIENCE_S`, naming `what`."""
    pause = threading.Event()
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        seen = look()
        if seen:
            return seen
        pause.wait(0.01)
    raise AssertionError(f"{what}: not within {PATIENCE_S:g} s")


class Daemon:
    """`schedulerd run` in a directory of its own; `start` may be called again after `stop` or `kill`."""

    def __init__(self, store: Path, state: Path, runtime: Path, config: str = CONFIG) -> None:
        self.runtime = runtime
        self.log = runtime / "daemon.log"
        self._config = runtime / "schedulerd.toml"
        self._config.write_text(config)
        # All tests share a state directory, and none begins with what the one before has set.
        self.drop_ins = runtime / "conf.d"
        self.drop_ins.mkdir()
        (self.drop_ins / "00-forget.toml").write_text("[control]\nremember = false")
        self._arguments = ["--store", str(store), "--state", str(state), "--runtime", str(runtime)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = self.spawn()
        with self.control() as control:
            until("the daemon's first answer", lambda: self._answers(control))

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start without waiting."""
        command = [sys.executable, "-m", "schedulerd", "run", "--config", str(self._config), *self._arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _answers(self, control: ControlClient) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return control.status()
        except SchedulerdClientError:
            return None

    def control(self) -> ControlClient:
        """An operator's connection."""
        return ControlClient(self.runtime, timeout_s=10.0)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._process is not None
        self._process.terminate()

    def signal(self, number: int) -> None:
        """Any other signal, without waiting."""
        assert self._process is not None
        self._process.send_signal(number)

    def configure(self, text: str) -> None:
        """Write another configuration; nobody is told."""
        self._config.write_text(text)

    def ended(self) -> bool:
        """Whether the process is gone."""
        assert self._process is not None
        return self._process.poll() is not None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL: no last words."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def logged(self) -> str:
        """Everything that it has written."""
        return self.log.read_text()
