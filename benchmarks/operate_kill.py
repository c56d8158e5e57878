"""A daemon that is killed under load, a supervisor that restarts it as its unit does, and what clients see."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.daemons import END_TIMEOUT_S, daemon, wait_until_ready
from blockstore.store import Store
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client, ControlClient, SchedulerdClientError

RATE_HZ = 100.0
CLIENTS = 4
RESTART_S = 0.1
"""RestartSec= of the unit."""
CALM_S = 1.5
"""Of load before each kill."""
PATIENCE_S = 30.0


class Outcome(NamedTuple):
    """What the clients saw."""

    answered: int
    failures: list[str]
    """A call that raised, in words."""
    gaps_s: list[float]
    """A kill each: until the client that waited longest had an answer of the new daemon."""
    first_gaps_s: list[float]
    """The same of the client that waited least."""
    ready_s: list[float]
    """A kill each: until the new daemon answered an operator."""


class Supervisor:
    """Starts the command, and again `RESTART_S` after it has ended, as `Restart=on-failure` does."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._closing = threading.Event()
        self.process = self._started()
        self._thread = threading.Thread(target=self._watch, name="supervisor")
        self._thread.start()

    def close(self) -> None:
        """End the process and restart it no more."""
        self._closing.set()
        self._thread.join(PATIENCE_S)
        self.process.terminate()
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_TIMEOUT_S)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            self._closing.wait(RESTART_S)
            if not self._closing.is_set():
                self.process = self._started()


class App(threading.Thread):
    """A client with a frame every `period_s`, which asks at once where it is behind; `answers_s`: when answers came."""

    def __init__(self, runtime: Path, model: str, shape: tuple[int, ...], period_s: float) -> None:
        super().__init__(name="app")
        self._client = Client(runtime, timeout_s=10.0)
        self._frame = np.zeros(shape, np.uint8)
        self._period_s = period_s
        self.ended = threading.Event()
        self.answers_s: list[float] = []
        self.failures: list[str] = []
        self._client.register(model, budget_ms=100, rate_hz=1 / period_s)

    def run(self) -> None:
        """Ask until ended."""
        due_s = time.monotonic()
        while not self.ended.is_set():
            try:
                self._client.infer(self._frame)
                self.answers_s.append(time.monotonic())
            except SchedulerdClientError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            due_s = max(due_s + self._period_s, time.monotonic() - self._period_s)
            self.ended.wait(max(0.0, due_s - time.monotonic()))

    def close(self) -> None:
        """End after the answer at hand."""
        self.ended.set()
        self.join(PATIENCE_S)
        self._client.close()


def killed(folder: Path, kills: int) -> Outcome:
    """Kill a daemon `kills` times under `RATE_HZ` requests a second."""
    state, runtime = folder / "state", folder / "run"
    store = demo_store(state)
    with daemon(store, state, runtime) as control:  # measures the store, which a board does once
        model = control.models()["models"][0]["model"]
    with Store.open(store) as opened:
        shape = opened.model(model).input.shape
    options = ["--store", str(store), "--state", str(state), "--runtime", str(runtime)]
    command = [sys.executable, "-m", "schedulerd", "run", "--config", str(state / "schedulerd.toml"), *options]
    with ExitStack() as open_:
        supervisor = Supervisor(command, state / "daemon.log")
        open_.callback(supervisor.close)
        control = open_.enter_context(ControlClient(runtime, timeout_s=2.0))
        wait_until_ready(control, supervisor.process)
        apps = [App(runtime, model, shape, CLIENTS / RATE_HZ) for _ in range(CLIENTS)]
        for app in apps:
            app.start()
            open_.callback(app.close)
        spans = [_kill(supervisor, control, apps) for _ in range(kills)]
    gaps = [[gap_s(app.answers_s, killed_s, until_s) for app in apps] for killed_s, _, until_s in spans]
    return Outcome(
        sum(len(app.answers_s) for app in apps),
        [failure for app in apps for failure in app.failures],
        [max(of_kill) for of_kill in gaps],
        [min(of_kill) for of_kill in gaps],
        [ready_s - killed_s for killed_s, ready_s, _ in spans],
    )


def _kill(supervisor: Supervisor, control: ControlClient, apps: list[App]) -> tuple[float, float, float]:
    """When it was killed, when the next one answered an operator, and when every app had answers of it again."""
    time.sleep(CALM_S)
    before = supervisor.process
    before.kill()
    killed_s = time.monotonic()
    _until(lambda: supervisor.process is not before)
    wait_until_ready(control, supervisor.process)
    ready_s = time.monotonic()
    counts = [len(app.answers_s) + len(app.failures) for app in apps]
    _until(lambda: all(len(a.answers_s) + len(a.failures) > c + 3 for a, c in zip(apps, counts, strict=True)))
    return killed_s, ready_s, time.monotonic()


def _until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until_s:
            raise TimeoutError(f"no service again within {PATIENCE_S:g} s of a kill")
        time.sleep(0.005)


def gap_s(answers_s: list[float], killed_s: float, until_s: float) -> float:
    """From a kill to the end of the longest silence after it: an answer may still have been under way."""
    of_kill = [s for s in answers_s if killed_s <= s <= until_s]
    silences = [(end - begin, end) for begin, end in zip([killed_s, *of_kill], of_kill, strict=False)]
    return max(silences)[1] - killed_s if silences else until_s - killed_s
