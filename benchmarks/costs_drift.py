"""Predictions of a real daemon when the board changes under it: hogs on one and both cores, and half of the clock.

One app sends MobileNetV2's frames. Its store has the originals alone, so the route stays and only what is predicted of
it can follow. What `schedctl plan` predicts just before the load, one second and five seconds after it came is compared
with what requests then really take.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.cost_stores import originals
from benchmarks.daemons import daemon, process_of
from benchmarks.harness import Figure, Target
from schedulerd_client import Client, ControlClient

MODEL = "mobilenetv2"
RATE_HZ = 30.0
CALM_S, LOADED_S = 5.0, 8.0
SETTLED_S = 1.0
"""After the load has come, what requests take is measured from here to its end."""
EPISODES = 5
MARKS_S = {"before": -0.05, "1s": 1.0, "5s": 5.0}
"""When a prediction is read, from the start of the load."""
SCENES = ("one_hog", "two_hogs", "half_clock")
FIGURES = (
    *(f"drift_error_{mark}" for mark in MARKS_S),
    *(f"{scene}_{what}" for scene in SCENES for what in (*(f"drift_error_{mark}" for mark in MARKS_S), "slowdown")),
)
CONFIG = "[engine]\nthreads_per_lane = 1\nmerge = false\n"
"""Blocks stay as they are measured: what is looked at is the correction."""
CGROUP = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 2000
"""Of the quota by which the clock is halved: short beside a request, so that all of them are slowed alike."""


@dataclass(frozen=True)
class Episode:
    """What was predicted at each mark, and what requests took before and under the load (medians)."""

    predicted_ms: dict[str, float]
    calm_ms: float
    loaded_ms: float

    def error(self, mark: str) -> float:
        """Of the prediction at a mark, relative to what requests took under the load."""
        return abs(self.predicted_ms[mark] / self.loaded_ms - 1)


def measure(store: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Every figure of this file."""
    only_originals = originals(store, (MODEL,), scratch / "originals")
    found: dict[str, Figure] = {}
    episodes: dict[str, list[Episode]] = {}
    with daemon(only_originals, scratch / "state", scratch / "run", CONFIG) as control:
        process = process_of(scratch / "run")
        loads = {"one_hog": lambda: _hogs(1), "two_hogs": lambda: _hogs(2), "half_clock": lambda: _half_clock(process)}
        for _ in range(1 if quick else EPISODES):
            for scene, load in loads.items():
                try:
                    episodes.setdefault(scene, []).append(_episode(scratch / "run", control, load))
                except OSError as error:
                    for name in FIGURES:
                        if name.startswith(scene):
                            found[name] = Figure(None, "%", reason=f"{error}")
    for scene, seen in episodes.items():
        found |= {f"{scene}_{name}": figure for name, figure in _figures(seen).items()}
        found[f"{scene}_slowdown"] = Figure(statistics.median(e.loaded_ms / e.calm_ms for e in seen), "ratio")
    return found | _figures([episode for seen in episodes.values() for episode in seen])


def _figures(episodes: list[Episode]) -> dict[str, Figure]:
    errors = {mark: [100 * e.error(mark) for e in episodes] for mark in MARKS_S}
    targets = {"1s": Target("<=", 10)}
    return {
        f"drift_error_{mark}": Figure(statistics.median(found), "%", targets.get(mark), {"errors": found})
        for mark, found in errors.items()
    }


# One episode.


def _episode(runtime: Path, control: ControlClient, load: Callable[[], object]) -> Episode:
    with _camera(runtime) as seen:
        time.sleep(CALM_S)
        predicted = {"before": _predicted_ms(control)}
        began_s = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(load())  # type: ignore[arg-type] # a context manager whose value nobody uses
            for mark, at_s in MARKS_S.items():
                if at_s > 0:
                    time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                    predicted[mark] = _predicted_ms(control)
            time.sleep(max(0.0, began_s + LOADED_S - time.monotonic()))
    calm = [ms for at_s, ms in seen if began_s - CALM_S / 2 < at_s < began_s]
    loaded = [ms for at_s, ms in seen if at_s > began_s + SETTLED_S]
    return Episode(predicted, statistics.median(calm), statistics.median(loaded))


def _predicted_ms(control: ControlClient) -> float:
    (app,) = control.plan()["apps"]
    return float(app["latency_ms"])


@contextmanager
def _camera(runtime: Path) -> Iterator[list[tuple[float, float]]]:
    """An app that sends frames all the while; when each was answered, and what its blocks took in ms."""
    seen: list[tuple[float, float]] = []
    stopped = threading.Event()

    def send() -> None:
        with Client(runtime) as client:
            registration = client.register(MODEL, budget_ms=1000, rate_hz=RATE_HZ)
            frame = np.random.default_rng(0).integers(0, 256, registration.input.shape, np.uint8)
            due_s = time.monotonic()
            while not stopped.wait(max(0.0, due_s - time.monotonic())):
                reply = client.infer(frame)
                seen.append((time.monotonic(), reply.run_ms))
                due_s = max(due_s + 1 / RATE_HZ, time.monotonic())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()


# Loads.


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    """Programs that take all they get; they end by themselves after a while, whatever becomes of this one."""
    code = f"import time\nend = time.monotonic() + {2 * LOADED_S}\nwhile time.monotonic() < end: pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def _half_clock(process: psutil.Process) -> Iterator[None]:
    """A quota of half a core for the daemon (cgroup v1); `OSError` where none may be made."""
    group = CGROUP / f"schedulerd-bench-{process.pid}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(PERIOD_US // 2))
        (group / "cgroup.procs").write_text(str(process.pid))
        try:
            yield
        finally:
            (CGROUP / "cgroup.procs").write_text(str(process.pid))
    finally:
        group.rmdir()
