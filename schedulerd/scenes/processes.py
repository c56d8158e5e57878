"""The processes of a scene: a real daemon, clients, and hogs.

Each is started with an argument list, watched, and ended by its own handle with a time-out. Clients and hogs end too
when the player was killed: their standard input closes then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from schedulerd.scenes.cast import Role
from schedulerd.scenes.record import AppRecord, Lost, Sample
from schedulerd.scenes.script import SceneFailed

END_TIMEOUT_S: Final = 15.0
PROFILE_S: Final = 10.0
"""Each median may then be a little unsure; a longer wait before the first picture would be worse."""
PROFILE_TIMEOUT_S: Final = 180.0
_HOG: Final = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""


def profile(store: Path, state: Path) -> None:
    """Measure the store on this board where that was not done before; the progress bar goes to standard error."""
    where = ["--store", str(store), "--state", str(state)]
    command = [sys.executable, "-m", "schedulerd", "profile", "--seconds", f"{PROFILE_S:g}", *where]
    try:
        done = subprocess.run(command, timeout=PROFILE_TIMEOUT_S, check=False, stdout=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise SceneFailed(f"`{' '.join(command[1:])}` was not done within {PROFILE_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise SceneFailed(f"the store {store} could not be measured whole; `schedulerd store verify --store {store}`")


class DaemonProcess:
    """`schedulerd run`, its log in a file."""

    def __init__(self, arguments: Sequence[str], log: Path, members: Path | None = None) -> None:
        """`members`: the file of a cgroup by which it enters it, before it holds any memory."""
        self.log = log
        command = [sys.executable, "-m", "schedulerd", "run", *arguments]
        if members is not None:
            command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(members), *command]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def check(self) -> None:
        """Raises with the end of the log when the daemon has ended."""
        code = self._process.poll()
        if code is not None:
            said = self.log.read_text(errors="replace")[-2000:]
            raise SceneFailed(f"the daemon ended with code {code}; the end of its log ({self.log}):\n{said}")

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        return _end(self._process)


class ClientProcess:
    """One app: a process that streams, and a thread that notes down what it says."""

    def __init__(self, role: Role, runtime: Path, frames: str) -> None:
        self.role = role
        self.ready = threading.Event()
        self.registered = threading.Event()
        self._samples: list[Sample] = []
        self._errors: list[Lost] = []
        self._end: Mapping[str, Any] | None = None
        arguments = ["--runtime", str(runtime), "--app", role.app, "--model", role.model]
        arguments += ["--budget-ms", f"{role.budget_ms:g}", "--rate-hz", f"{role.rate_hz:g}"]
        arguments += ["--priority", str(role.priority), "--seed", str(role.seed), "--late", role.late]
        arguments += ["--accuracy-floor", str(role.accuracy_floor), "--exits", json.dumps(dict(role.exits))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "schedulerd.scenes.client", *arguments, "--frames", frames],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._joined = False
        self._stopped = False
        self._reader = threading.Thread(target=self._read, name=f"read-{role.app}", daemon=True)
        self._reader.start()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Everything seen so far."""
        return tuple(self._samples)

    def join(self) -> None:
        """It registers now, and streams."""
        assert self._process.stdin is not None
        self._process.stdin.write("join\n")
        self._process.stdin.flush()
        self._joined = True

    def check(self) -> None:
        """Raises when the client has ended by itself."""
        code = None if self._stopped else self._process.poll()
        if code is not None:
            said = "; ".join(e.message for e in self._errors[-3:])
            raise SceneFailed(f"the client {self.role.app} ended with code {code}: {said}")

    def leave(self) -> None:
        """It unregisters now; `stop` waits for that."""
        self._stopped = True
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended
                self._process.stdin.close()

    def stop(self) -> AppRecord:
        """Ask for the end, wait for it, and hand over what was seen."""
        self.leave()
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
            ended=self._end is not None or not self._joined,
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            kind = line.pop("kind")
            if kind == "reply":
                self._samples.append(Sample(**{**line, "route": tuple(line["route"])}))
            elif kind == "error":
                self._errors.append(Lost(**line))
            elif kind == "end":
                self._end = line
            else:
                {"ready": self.ready, "registered": self.registered}[kind].set()


class Hogs:
    """Programs that do nothing but use a core each, as many as were asked for last."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def set(self, count: int) -> None:
        """So many from now on."""
        while len(self._processes) < count:
            hog = [sys.executable, "-I", "-S", "-c", _HOG]
            self._processes.append(subprocess.Popen(hog, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))
        ending = [self._processes.pop() for _ in range(len(self._processes) - count)]
        for process in ending:
            process.kill()
        for process in ending:
            process.wait(END_TIMEOUT_S)
            if process.stdin is not None:
                process.stdin.close()

    def __len__(self) -> int:
        return len(self._processes)


def usage(pid: int) -> tuple[int, float]:
    """Resident bytes and processor seconds of a process so far (proc_pid_stat(5)); OSError where there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")


def _end(process: subprocess.Popen[Any]) -> int:
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(END_TIMEOUT_S)
