"""The main job in figures: when an edit is seen, how large the daemon is and how quick it starts.

What serving adds to a request and what a swap costs is in `benchmarks.serving`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, Target, main
from blockstore.store import Store
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client, ControlClient

Frame = npt.NDArray[np.uint8]

FIGURES = ("budget_visible_ms", "rss_mb", "ready_s")


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as name:
        folder = Path(name)
        if options.wants("budget_visible_ms"):
            found |= _visible(folder, options.quick)
        if options.wants("rss_mb", "ready_s"):
            found |= _size(folder, options.quick)
    return {name: figure for name, figure in found.items() if options.wants(name)}


# An operator's edit, as the app sees it.


def _visible(folder: Path, quick: bool) -> dict[str, Figure]:
    """From the start of a `schedctl budget` process to the first reply that carries the new budget."""
    state, runtime = folder / "demo", folder / "run-visible"
    store = demo_store(state)
    waited_ms = []
    with daemon(store, state, runtime) as control, Client(runtime) as client:
        name = control.models()["models"][0]["model"]
        with Store.open(store) as opened:
            frame = np.zeros(opened.model(name).input.shape, np.uint8)
        client.register(name, budget_ms=100, rate_hz=10, app="watched")
        for budget_ms in range(50, 55 if quick else 70):
            began_s = time.perf_counter()
            command = [sys.executable, "-m", "schedulerd.ctl", "--runtime", str(runtime)]
            edit = subprocess.Popen([*command, "budget", "watched", f"{budget_ms}ms"], stdout=subprocess.DEVNULL)
            while client.infer(frame).budget_ms != budget_ms:
                if time.perf_counter() - began_s > 10:
                    raise TimeoutError("the edit was not seen within 10 s")
            waited_ms.append((time.perf_counter() - began_s) * 1e3)
            edit.wait(10)
    return {"budget_visible_ms": Figure(max(waited_ms), "ms", Target("<=", 500), {"waited": waited_ms})}


# Size and start.


def _size(folder: Path, quick: bool) -> dict[str, Figure]:
    state = folder / "size"
    store = demo_store(state)
    ready_s: list[float] = []
    rss_mb: list[float] = []
    for turn in range(2 if quick else 6):
        began_s = time.monotonic()
        with daemon(store, state, folder / f"run-size{turn}") as control:
            ready_s.append(time.monotonic() - began_s)
            rss_mb.append(_serve_everything(folder / f"run-size{turn}", control, store, 1.0 if quick else 5.0))
    # The first start measures the store, which takes memory as well; from the second on the profile is cached.
    return {
        "rss_mb": Figure(max(rss_mb), "MB", Target("<=", 120), {"rss": rss_mb}),
        "ready_s": Figure(statistics.median(ready_s[1:]), "s", Target("<=", 2), {"ready": ready_s}),
    }


def _serve_everything(runtime: Path, control: ControlClient, store: Path, seconds: float) -> float:
    """Resident megabytes of a daemon that serves every model of the demo store at full size."""
    clients: list[tuple[Client, Frame]] = []
    rng = np.random.default_rng(0)
    with Store.open(store) as opened:
        shapes: dict[str, Any] = {name: opened.model(name).input.shape for name in opened.models()}
    try:
        for name, shape in shapes.items():
            client = Client(runtime)
            client.register(name, budget_ms=1000, rate_hz=5)
            clients.append((client, rng.integers(0, 256, shape, np.uint8)))
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for client, frame in clients:
                client.infer(frame)
        return float(control.status()["rss_bytes"]) / 1e6
    finally:
        for client, _ in clients:
            client.close()


if __name__ == "__main__":
    sys.exit(main("main_job", FIGURES, measure))
