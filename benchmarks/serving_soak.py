"""A daemon for a long time: 70% load, a swap a second, and clients that come, go and die.

Three steady cameras of the demo's networks fill 70% of a lane. An operator moves the budget of one of them to and fro.
Beside them visitors come: half leave as they should, half are killed with frames in flight. The daemon is looked at
from outside (/proc): resident memory, descriptors and threads, in pauses in which every visitor has gone. Five minutes,
or as long as `--soak SECONDS` says.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.daemons import daemon, process_of
from benchmarks.harness import Figure, Options, Target
from benchmarks.processes import Helper
from benchmarks.serving_swaps import frame_of, toggler
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client, ControlClient

FIGURES = (
    "soak_lost",
    "soak_refused",
    "soak_rss_growth_mb",
    "soak_descriptors_growth",
    "soak_threads_growth",
    "soak_frames",
    "soak_swaps_per_s",
    "soak_daemon_cores",
    "soak_visitors",
    "soak_p99_ms",
    "soak_seconds",
)
SECONDS = 300.0
LOAD = 0.7
WINDOW_S = 10.0
PAUSE_S = 3.0
"""Between two windows: within 2 s nothing is left of a client that died."""
WARM_SHARE = 0.2
"""Of the windows, before the first reading that counts: caches and pools fill."""
EDGE_SHARE = 0.2
"""Of the readings, at either end, whose median is taken."""
VISITOR_HZ = 10.0
ANSWER_TIMEOUT_S = 40.0
MIB = 2**20


class Reading(NamedTuple):
    """The daemon's process at one moment."""

    rss_bytes: float
    descriptors: float
    threads: float


def growth(readings: Sequence[Reading]) -> Reading:
    """What has grown from the first fifth to the last, by their medians, after the warm-up."""
    counted = readings[int(WARM_SHARE * len(readings)) :]
    edge = max(1, int(EDGE_SHARE * len(counted)))
    return Reading(*(b - a for a, b in zip(_median(counted[:edge]), _median(counted[-edge:]), strict=True)))


def _median(readings: Sequence[Reading]) -> Reading:
    return Reading(*(statistics.median(values) for values in zip(*readings, strict=True)))


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """One soak."""
    seconds = options.soak_s or (15.0 if options.quick else SECONDS)
    state, runtime = folder / "state", folder / "run"
    store = demo_store(state)
    with daemon(store, state, runtime) as control, ExitStack() as stack:
        models = control.models()["models"]
        rates_hz = {m["model"]: 1e3 * LOAD / len(models) / _frame_ms(store, runtime, m["model"]) for m in models}
        cameras = [_camera(stack, runtime, name, rate_hz) for name, rate_hz in rates_hz.items()]
        swapped = max(models, key=lambda m: float(m["full_p95_ms"]))
        operator = stack.enter_context(_operator(runtime, swapped))
        return _soak(runtime, control, cameras, operator, models, seconds, options.quick)


def _soak(
    runtime: Path,
    control: ControlClient,
    cameras: Sequence[Helper],
    operator: Helper,
    models: Sequence[Mapping[str, Any]],
    seconds: float,
    quick: bool,
) -> dict[str, Figure]:
    process = process_of(runtime)
    window_s = 2.0 if quick else WINDOW_S
    readings: list[Reading] = []
    answers: list[dict[str, Any]] = []
    visits = itertools.count()
    swaps_before, began_s, busy_s = control.status()["swaps"], time.monotonic(), 0.0
    cpu_before_s = _cpu_s(process)
    while time.monotonic() - began_s < seconds or len(readings) < 2:
        start_s = time.monotonic() + 0.2
        for camera in cameras:
            camera.tell(f"go {start_s} {window_s}")
        operator.tell(f"go {window_s}")
        answers += _visitors(runtime, models, visits, start_s + window_s)
        answers += [camera.hear(window_s + ANSWER_TIMEOUT_S) for camera in cameras]
        operator.hear(window_s + ANSWER_TIMEOUT_S)
        busy_s += window_s
        time.sleep(PAUSE_S)
        readings.append(_read(process))
    swaps = control.status()["swaps"] - swaps_before
    return figures(answers, readings, next(visits)) | {
        "soak_swaps_per_s": Figure(swaps / busy_s, "1/s"),
        "soak_daemon_cores": Figure((_cpu_s(process) - cpu_before_s) / busy_s, "cores"),
        "soak_seconds": Figure(time.monotonic() - began_s, "s"),
    }


def figures(answers: Sequence[Mapping[str, Any]], readings: Sequence[Reading], visitors: int) -> dict[str, Figure]:
    """From what the clients that lived were answered, and what the daemon came to."""
    grown, columns = growth(readings), zip(*readings, strict=True)
    samples = {name: [float(v) for v in values] for name, values in zip(Reading._fields, columns, strict=True)}
    latencies_ms = sorted(ms for answer in answers for ms in answer["latencies_ms"])
    lost = sum(answer["lost"] for answer in answers)
    said = sorted({answer["error"] for answer in answers if answer["lost"]})
    return {
        "soak_lost": Figure(lost, "frames", Target("<=", 0), reason="; ".join(said) or None),
        "soak_refused": Figure(sum(answer["refused"] for answer in answers), "frames"),
        "soak_rss_growth_mb": Figure(grown.rss_bytes / MIB, "MiB", Target("<=", 16), samples),
        "soak_descriptors_growth": Figure(grown.descriptors, "count", Target("<=", 0)),
        "soak_threads_growth": Figure(grown.threads, "count", Target("<=", 0)),
        "soak_frames": Figure(lost + len(latencies_ms), "frames"),
        "soak_visitors": Figure(visitors, "clients"),
        "soak_p99_ms": Figure(latencies_ms[int(0.99 * len(latencies_ms))], "ms"),
    }


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _read(process: psutil.Process) -> Reading:
    with process.oneshot():
        return Reading(process.memory_info().rss, process.num_fds(), process.num_threads())


def _frame_ms(store: Path, runtime: Path, model: str) -> float:
    """What a frame takes of the lane when its model runs whole; the median of two hundred."""
    frame = frame_of(store, model)
    with Client(runtime) as client:
        client.register(model, budget_ms=1000.0, rate_hz=1.0)
        return statistics.median([client.infer(frame).run_ms for _ in range(200)])


def _camera(stack: ExitStack, runtime: Path, model: str, rate_hz: float) -> Helper:
    """A steady camera, registered."""
    helper = stack.enter_context(_client(runtime, model, min(1000.0, rate_hz), 100.0, f"steady-{model}"))
    helper.hear(ANSWER_TIMEOUT_S)
    return helper


def _operator(runtime: Path, model: Mapping[str, Any]) -> Helper:
    """Moves the budget of one steady camera once a second, between its whole network and about half."""
    low_ms = 0.5 + (model["lossless_p95_ms"] + model["fastest_p95_ms"]) / 2
    return toggler(runtime, f"steady-{model['model']}", low_ms, 4.0 * model["full_p95_ms"], 1.0)


def _visitors(
    runtime: Path, models: Sequence[Mapping[str, Any]], visits: itertools.count[int], until_s: float
) -> list[dict[str, Any]]:
    """Visitors one after the other until then: every other one is killed as it sends, the others leave."""
    answers = []
    while time.monotonic() < until_s - 1.0:
        number = next(visits)
        model = models[number % len(models)]["model"]
        with _client(runtime, model, VISITOR_HZ, 1000.0, f"visitor-{number}") as visitor:
            visitor.hear(ANSWER_TIMEOUT_S)
            visitor.tell(f"go {time.monotonic()} 0.5")
            if number % 2:
                time.sleep(0.25)
                visitor.process.kill()
            else:
                answers.append(visitor.hear(ANSWER_TIMEOUT_S))
    return answers


def _client(runtime: Path, model: str, rate_hz: float, budget_ms: float, app: str) -> Helper:
    arguments = [str(runtime), model, str(rate_hz), str(budget_ms), app]
    return Helper([sys.executable, "-m", "benchmarks.camera", *arguments])
