"""The processes of the demo: a real daemon, three clients, a CPU hog, and the operator's `schedctl`.

Each is started with an argument list, watched, and ended by its own handle with a time-out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schedulerd.demo.cast import Role
from schedulerd.demo.record import AppRecord, Sample
from schedulerd.errors import SchedulerdError

END_TIMEOUT_S = 15.0
PROFILE_S = 10.0
"""Each median may then be a little unsure; a longer wait before the first picture would be worse."""
PROFILE_TIMEOUT_S = 180.0
OPERATOR_TIMEOUT_S = 30.0


class DemoFailed(SchedulerdError):
    """A process of the demo did not do its part."""


def profile(store: Path, state: Path) -> None:
    """Measure the store on this board where that was not done before; the progress bar goes to standard error."""
    where = ["--store", str(store), "--state", str(state)]
    command = [sys.executable, "-m", "schedulerd", "profile", "--seconds", f"{PROFILE_S:g}", *where]
    done = _finished(command, PROFILE_TIMEOUT_S, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise DemoFailed(f"the store {store} could not be measured whole; `schedulerd store verify --store {store}`")


class DaemonProcess:
    """`schedulerd run`, its log in a file."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "schedulerd", "run", *arguments], stdout=stream, stderr=stream
            )

    def check(self) -> None:
        """Raises with the end of the log when the daemon has ended."""
        code = self._process.poll()
        if code is not None:
            said = self.log.read_text(errors="replace")[-2000:]
            raise DemoFailed(f"the daemon ended with code {code}; the end of its log ({self.log}):\n{said}")

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        return _end(self._process)


class ClientProcess:
    """One app: a process that streams, and a thread that notes down what it says."""

    def __init__(self, role: Role, runtime: Path) -> None:
        self.role = role
        self.registered = threading.Event()
        self._samples: list[Sample] = []
        self._errors: list[str] = []
        self._end: dict[str, Any] | None = None
        arguments = ["--runtime", str(runtime), "--app", role.app, "--model", role.model]
        arguments += ["--budget-ms", f"{role.budget_ms:g}", "--rate-hz", f"{role.rate_hz:g}"]
        arguments += ["--priority", str(role.priority), "--seed", str(role.seed)]
        arguments += ["--accuracy-floor", str(role.accuracy_floor), "--exits", json.dumps(dict(role.exits))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "schedulerd.demo.client", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"read-{role.app}", daemon=True)
        self._reader.start()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Everything seen so far."""
        return tuple(self._samples)

    def check(self) -> None:
        """Raises when the client has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise DemoFailed(f"the client {self.role.app} ended with code {code}: {'; '.join(self._errors[-3:])}")

    def stop(self) -> AppRecord:
        """Ask for the end, wait for it, and hand over what was seen."""
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _end(self._process)
        self._reader.join(END_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        end = self._end or {"sent": len(self._samples) + len(self._errors), "answered": len(self._samples)}
        return AppRecord(
            self.role.app,
            self.role.model,
            self.samples,
            int(end["sent"]),
            int(end["answered"]),
            tuple(self._errors),
            ended=self._end is not None,
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            kind = line.pop("kind")
            if kind == "reply":
                self._samples.append(Sample(**{**line, "route": tuple(line["route"])}))
            elif kind == "registered":
                self.registered.set()
            elif kind == "error":
                self._errors.append(line["message"])
            else:
                self._end = line


class Hog:
    """Processes that do nothing but use a core each."""

    def __init__(self, count: int) -> None:
        self._processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            _end(process)
        self._processes = []


def schedctl(runtime: Path, *arguments: str) -> dict[str, Any]:
    """Run the operator's program for real, and read its JSON."""
    command = [sys.executable, "-m", "schedulerd.ctl", "--runtime", str(runtime), *arguments, "--json"]
    done = _finished(command, OPERATOR_TIMEOUT_S, capture_output=True)
    if done.returncode != 0:
        raise DemoFailed(f"schedctl {' '.join(arguments)} exited {done.returncode}: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def _finished(command: list[str], timeout_s: float, **streams: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, text=True, timeout=timeout_s, check=False, **streams)
    except subprocess.TimeoutExpired as error:
        raise DemoFailed(f"`{' '.join(command[1:])}` was not done within {timeout_s:g} s") from error


def _end(process: subprocess.Popen[Any]) -> int:
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(END_TIMEOUT_S)
