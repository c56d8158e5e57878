"""The main job in figures: what serving adds to a request, what a swap costs, how large and how quick the daemon is.

Both sides of every ratio are measured in one run, taking turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zmq

from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, Target, main
from benchmarks.networks import add_network
from blockstore.assembly import assemble, load_chain
from blockstore.block import Model
from blockstore.store import Store
from schedulerd.demo.stock import demo_store
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.meter import percentile
from schedulerd_client import Client, ControlClient, SchedulerdClientError

Frame = npt.NDArray[np.uint8]

SIDES = (32, 224)
FIGURES = (
    *(
        f"overhead_{side}_{pace}{of}"
        for side in SIDES
        for pace in ("", "paced_")
        for of in ("over_bare", "ms", "bare_ms")
    ),
    "swap_p99_ratio",
    "swap_lost",
    "swap_apply_ms",
    "swaps_per_s",
    "budget_visible_ms",
    "rss_mb",
    "ready_s",
)
PAUSE_S = 0.01
"""Before a paced request: the client's core and the daemon's have gone idle, as between two frames of a camera."""
SWAPS_PER_S = 10.0
ONE_THREAD = "[engine]\nthreads_per_lane = 1\n"
"""All sides of the overhead run blocks on one thread, whatever the machine has."""


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as name:
        folder = Path(name)
        for side in SIDES:
            if options.wants(*(f for f in FIGURES if f.startswith(f"overhead_{side}_"))):
                found |= _overhead(folder, side, options.quick)
        if options.wants("swap_p99_ratio", "swap_lost", "swap_apply_ms", "swaps_per_s"):
            found |= _swaps(folder, options.quick)
        if options.wants("budget_visible_ms"):
            found |= _visible(folder, options.quick)
        if options.wants("rss_mb", "ready_s"):
            found |= _size(folder, options.quick)
    return {name: figure for name, figure in found.items() if options.wants(name)}


# Overhead: the same route in this process, behind a bare loop, and behind the daemon.


def _overhead(folder: Path, side: int, quick: bool) -> dict[str, Figure]:
    root = folder / "networks"
    with Store.open(root, create=True) as store:
        model = add_network(store, f"net{side}", side)
    frame = np.random.default_rng(0).integers(0, 256, model.input.shape, np.uint8)
    # One daemon and one loop serve a store of both networks; only one network is asked in a run.
    with (
        daemon(root, folder / f"state{side}", folder / f"run{side}", ONE_THREAD),
        Client(folder / f"run{side}") as client,
        _bare_loop(root, model, folder / f"bare{side}.sock") as bare,
    ):
        client.register(model.name, budget_ms=1000, rate_hz=10)
        sides: dict[str, Callable[[], object]] = {
            "in_process": _in_process(root, model, frame),
            "bare": lambda: bare(frame),
            "ours": lambda: client.infer(frame),
        }
        at_once = _in_turns(sides, rounds=5 if quick else 40, repeats=25)
        paced = _in_turns(sides, rounds=2 if quick else 20, repeats=25, pause_s=PAUSE_S)
    return {
        **_over_bare(f"overhead_{side}_", at_once, Target("<=", 1.3)),
        **_over_bare(f"overhead_{side}_paced_", paced, None),
    }


def _over_bare(prefix: str, samples: dict[str, list[float]], target: Target | None) -> dict[str, Figure]:
    alone_ms = statistics.median(samples["in_process"])
    ours_ms = statistics.median(samples["ours"]) - alone_ms
    bare_ms = statistics.median(samples["bare"]) - alone_ms
    return {
        f"{prefix}over_bare": Figure(ours_ms / bare_ms, "ratio", target, samples),
        f"{prefix}ms": Figure(ours_ms, "ms"),
        f"{prefix}bare_ms": Figure(bare_ms, "ms"),
    }


def _in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, repeats: int, pause_s: float = 0.0
) -> dict[str, list[float]]:
    """Milliseconds of each call; every side gets `repeats` calls a round, in an order that alternates."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            call = sides[name]
            call()  # the first after another side has run finds cold caches
            for _ in range(repeats):
                if pause_s:
                    time.sleep(pause_s)
                began_s = time.perf_counter()
                call()
                samples[name].append((time.perf_counter() - began_s) * 1e3)
    return samples


def _in_process(root: Path, model: Model, frame: Frame) -> Callable[[], object]:
    engine = OnnxEngine(threads=1)
    with Store.open(root) as store:
        parts = assemble(model, [b.variants[0].name for b in model.blocks], engine.name)
        chain = load_chain(parts, lambda artifact: engine.load(store.path(artifact.digest)))
    batch = frame.reshape((1, *frame.shape))
    return lambda: chain.run(batch)


@contextmanager
def _bare_loop(root: Path, model: Model, socket_path: Path) -> Iterator[Callable[[Frame], object]]:
    endpoint = f"ipc://{socket_path}"
    command = [sys.executable, "-m", "benchmarks.bare_loop", str(root), model.name, endpoint]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(endpoint)

    def call(frame: Frame) -> object:
        dealer.send(frame, copy=False)
        if not dealer.poll(10_000):
            raise TimeoutError("the bare loop did not answer within 10 s")
        return np.frombuffer(dealer.recv(copy=False).buffer, np.float32)

    try:
        yield call
    finally:
        context.destroy(linger=0)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


# Swaps: one app streams as fast as it gets answers while an operator moves its budget to and fro.


def _swaps(folder: Path, quick: bool) -> dict[str, Figure]:
    state = folder / "demo"
    store = demo_store(state)
    rounds, window_s = (2, 1.0) if quick else (6, 5.0)
    with daemon(store, state, folder / "run-swaps") as control, Client(folder / "run-swaps") as client:
        model = max(control.models()["models"], key=lambda m: float(m["full_p95_ms"]))
        high_ms = 4.0 * model["full_p95_ms"]
        # Half a millisecond is for what serving adds.
        low_ms = 0.5 + (model["lossless_p95_ms"] + model["fastest_p95_ms"]) / 2
        with Store.open(store) as opened:
            shape = opened.model(model["model"]).input.shape
        frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        client.register(model["model"], budget_ms=high_ms, rate_hz=10, app="swapped")
        samples: dict[str, list[float]] = {"still": [], "swapping": []}
        applied_ms: list[float] = []
        changes = lost = 0
        with _toggler(folder / "run-swaps", low_ms, high_ms) as toggle:
            for _ in range(rounds):
                # The still half runs on the same two routes as the swapping half, one after the other.
                for budget_ms in (low_ms, high_ms):
                    control.set_budget("swapped", budget_ms)
                    still = _stream(client, frame, window_s / 2)
                    samples["still"] += still.latencies_ms
                    lost += still.lost
                collect = toggle(window_s)
                swapping = _stream(client, frame, window_s)
                samples["swapping"] += swapping.latencies_ms
                lost += swapping.lost
                changes += swapping.changes
                applied_ms += collect()
    still_ms, swapping_ms = (percentile(samples[side], 0.99) or 0.0 for side in ("still", "swapping"))
    return {
        "swap_p99_ratio": Figure(swapping_ms / still_ms, "ratio", Target("<=", 1.10), samples),
        "swap_lost": Figure(lost, "requests", Target("<=", 0)),
        "swap_apply_ms": Figure(statistics.median(applied_ms), "ms", None, {"apply": applied_ms}),
        "swaps_per_s": Figure(changes / (rounds * window_s), "1/s"),
    }


class Streamed(NamedTuple):
    """What a stream of frames brought."""

    latencies_ms: list[float]
    """Round trips."""
    changes: int
    """How often the route changed between two replies."""
    lost: int
    """Frames without a result."""


def _stream(client: Client, frame: Frame, seconds: float) -> Streamed:
    latencies_ms = []
    changes = lost = 0
    route = None
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        try:
            reply = client.infer(frame)
        except SchedulerdClientError:
            lost += 1
            continue
        latencies_ms.append(reply.latency_ms)
        changes += route is not None and reply.route != route
        route = reply.route
    return Streamed(latencies_ms, changes, lost)


@contextmanager
def _toggler(runtime: Path, low_ms: float, high_ms: float) -> Iterator[Callable[[float], Callable[[], list[float]]]]:
    command = [sys.executable, "-m", "benchmarks.toggler", str(runtime), "swapped", str(low_ms), str(high_ms)]
    process = subprocess.Popen([*command, str(SWAPS_PER_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def toggle(seconds: float) -> Callable[[], list[float]]:
        stdin.write(f"go {seconds}\n")
        stdin.flush()
        return lambda: _numbers(stdout.readline())

    try:
        yield toggle
    finally:
        stdin.close()
        process.wait(10)
        stdout.close()


def _numbers(text: str) -> list[float]:
    return [float(n) for n in json.loads(text)]


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
