"""What watching and deciding costs: processor time of a daemon at rest, and with ten apps that seldom send a frame."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.daemons import daemon, process_of
from benchmarks.harness import Figure, Options, Target
from benchmarks.serving_swaps import frame_of
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client

FIGURES = ("idle_core_percent", "ten_apps_core_percent")
APPS = 10
RATE_HZ = 0.2
"""Of each app: frames are rare enough that serving them is small beside watching, and blocks' own time is taken off."""
SETTLE_S = 5.0
CONFIG = "[profile]\nbackground = false\n\n[engine]\nmerge = false\n"
"""What a daemon does with an idle board is done at a lower priority, by other processes, and ends by itself."""


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """Both."""
    state, seconds = folder / "demo", 5.0 if options.quick else 20.0
    store, runtime = demo_store(state), folder / "run-cost"
    with daemon(store, state, runtime, CONFIG) as control:
        models = [str(model["model"]) for model in control.models()["models"]]
        time.sleep(SETTLE_S)
        idle = _percent(runtime, seconds, ())
        with _apps(runtime, models) as clients:
            frames = [frame_of(store, models[number % len(models)]) for number in range(APPS)]
            time.sleep(SETTLE_S)
            ten = _percent(runtime, seconds, [(c, f) for c, f in zip(clients, frames, strict=True)])
    return {
        "idle_core_percent": Figure(idle, "% of a core", Target("<=", 1)),
        "ten_apps_core_percent": Figure(ten, "% of a core", Target("<=", 3)),
    }


@contextmanager
def _apps(runtime: Path, models: Sequence[str]) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(runtime)) for _ in range(APPS)]
        for number, client in enumerate(clients):
            client.register(models[number % len(models)], budget_ms=500, rate_hz=RATE_HZ, app=f"app-{number}")
        yield clients


def _percent(runtime: Path, seconds: float, apps: Sequence[tuple[Client, object]]) -> float:
    """Of one core, over so many seconds, less what blocks took."""
    process = process_of(runtime)
    before, began_s = process.cpu_times(), time.monotonic()
    run_s, sent = 0.0, 0
    while (now_s := time.monotonic()) < began_s + seconds:
        if apps and now_s - began_s >= sent / (RATE_HZ * len(apps)):
            client, frame = apps[sent % len(apps)]
            run_s += client.infer(frame).run_ms / 1e3
            sent += 1
        time.sleep(0.02)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return 100 * max(0.0, used_s - run_s) / (time.monotonic() - began_s)
