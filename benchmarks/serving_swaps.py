"""What a change of route does to the requests around it: many warm ones a second, and cold ones from disk.

Warm: one app of the demo's store sends as fast as it gets answers, while an operator moves its budget to and fro. Cold:
a daemon that has just started serves MobileNetV2-224 of original blocks; the kernel forgets the store's files, and an
edit wants pruned blocks that were never loaded. Every request counts, from before the edit to two seconds after it.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.cost_stores import cost_store
from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, Target
from benchmarks.processes import Helper
from blockstore.store import Store
from schedulerd.demo.stock import demo_store
from schedulerd.serving.meter import percentile
from schedulerd_client import Client, Reply, SchedulerdClientError

Frame = npt.NDArray[np.uint8]

WARM = ("swap_p99_ratio", "swap_lost", "swap_apply_ms", "swaps_per_s")
COLD = ("cold_swap_worst_ms", "cold_swap_still_worst_ms", "cold_swap_apply_ms", "cold_swap_loaded_mb", "cold_swap_lost")
FIGURES = (*WARM, *COLD)
SWAPS_PER_S = 10.0
ANSWER_TIMEOUT_S = 30.0
"""Beyond the time that the operator was told to edit for."""
MODEL, PRUNED = "mobilenetv2", "prune:0.5"
PRUNED_DROP = 0.01
"""Made up, for nothing was learnt: originals are better, so they are taken where the budget allows."""
COLD_TRIALS = 10
COLD_S = 2.0
COLD_CONFIG = (
    "[engine]\nthreads_per_lane = 1\nmerge = false\n\n[profile]\nbackground = false\n\n[control]\nprefetch = false\n"
)
"""Without the loading ahead that keeps most swaps warm: here they are to be cold."""
FIRST_REQUESTS = 30
"""Of a new daemon, which are looked at by nobody."""


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """Both kinds, as asked."""
    found: dict[str, Figure] = {}
    if options.wants(*WARM):
        found |= _warm(folder, options.quick)
    if options.wants(*COLD):
        found |= _cold(folder, options.quick)
    return found


# Warm.


def _warm(folder: Path, quick: bool) -> dict[str, Figure]:
    state, runtime = folder / "demo", folder / "run-swaps"
    store = demo_store(state)
    rounds, window_s = (2, 1.0) if quick else (6, 5.0)
    with daemon(store, state, runtime) as control, Client(runtime) as client:
        model = max(control.models()["models"], key=lambda m: float(m["full_p95_ms"]))
        high_ms = 4.0 * model["full_p95_ms"]
        # Half a millisecond is for what serving adds.
        low_ms = 0.5 + (model["lossless_p95_ms"] + model["fastest_p95_ms"]) / 2
        frame = frame_of(store, model["model"])
        client.register(model["model"], budget_ms=high_ms, rate_hz=10, app="swapped")
        samples: dict[str, list[float]] = {"still": [], "swapping": []}
        applied_ms: list[float] = []
        changes = lost = 0
        with toggler(runtime, "swapped", low_ms, high_ms, SWAPS_PER_S) as operator:
            for _ in range(rounds):
                # The still half runs on the same two routes as the swapping half, one after the other.
                for budget_ms in (low_ms, high_ms):
                    control.set_budget("swapped", budget_ms)
                    still = stream(client, frame, window_s / 2)
                    samples["still"] += still.latencies_ms
                    lost += still.lost
                operator.tell(f"go {window_s}")
                swapping = stream(client, frame, window_s)
                samples["swapping"] += swapping.latencies_ms
                lost += swapping.lost
                changes += swapping.changes
                applied_ms += operator.hear(window_s + ANSWER_TIMEOUT_S)
    still_ms, swapping_ms = (percentile(samples[side], 0.99) or 0.0 for side in ("still", "swapping"))
    return {
        "swap_p99_ratio": Figure(swapping_ms / still_ms, "ratio", Target("<=", 1.05), samples),
        "swap_lost": Figure(lost, "requests", Target("<=", 0)),
        "swap_apply_ms": Figure(statistics.median(applied_ms), "ms", None, {"apply": applied_ms}),
        "swaps_per_s": Figure(changes / (rounds * window_s), "1/s"),
    }


class Streamed(NamedTuple):
    """What a stream of frames brought."""

    replies: list[Reply]
    lost: int
    """Frames without a result."""

    @property
    def latencies_ms(self) -> list[float]:
        """Round trips."""
        return [reply.latency_ms for reply in self.replies]

    @property
    def changes(self) -> int:
        """How often the route changed between two replies."""
        routes = [reply.route for reply in self.replies]
        return sum(before != after for before, after in itertools.pairwise(routes))


def stream(client: Client, frame: Frame, seconds: float) -> Streamed:
    """Send a frame when the one before is answered."""
    replies, lost = [], 0
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        try:
            # Without the outputs, whose memory is the transport's.
            replies.append(client.infer(frame)._replace(outputs=None))
        except SchedulerdClientError:
            lost += 1
    return Streamed(replies, lost)


def toggler(runtime: Path, app: str, low_ms: float, high_ms: float, rate_hz: float) -> Helper:
    """The operator of `benchmarks.toggler`."""
    numbers = map(str, (low_ms, high_ms, rate_hz))
    return Helper([sys.executable, "-m", "benchmarks.toggler", str(runtime), app, *numbers])


def frame_of(store: Path, model: str) -> Frame:
    """A random frame of a model of a store."""
    with Store.open(store) as opened:
        shape = opened.model(model).input.shape
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# Cold.


class Trial(NamedTuple):
    """One cold swap, and as long a time without one just before it."""

    still: Streamed
    swapping: Streamed
    applied_ms: float
    loaded_bytes: int


def _cold(folder: Path, quick: bool) -> dict[str, Figure]:
    store = _pruned_store(folder / "cold-store")
    trials = [_trial(store, folder, number) for number in range(2 if quick else COLD_TRIALS)]
    cold = [trial for trial in trials if trial.swapping.changes and trial.loaded_bytes > 0]
    if not cold:
        reason = "no edit had to load a block: " + ", ".join(f"{t.swapping.changes} changes" for t in trials)
        return {name: Figure(None, "-", reason=reason) for name in COLD}
    worst_ms = [worst_extra_ms(trial.swapping.replies) for trial in cold]
    still_ms = [worst_extra_ms(trial.still.replies) for trial in cold]
    applied_ms = [trial.applied_ms for trial in cold]
    loaded_mb = [trial.loaded_bytes / 1e6 for trial in cold]
    return {
        "cold_swap_worst_ms": Figure(max(worst_ms), "ms", Target("<=", 5), {"worst": worst_ms}),
        "cold_swap_still_worst_ms": Figure(max(still_ms), "ms", None, {"worst": still_ms}),
        "cold_swap_apply_ms": Figure(statistics.median(applied_ms), "ms", None, {"apply": applied_ms}),
        "cold_swap_loaded_mb": Figure(statistics.median(loaded_mb), "MB", None, {"loaded": loaded_mb}),
        "cold_swap_lost": Figure(sum(t.still.lost + t.swapping.lost for t in trials), "requests", Target("<=", 0)),
    }


def worst_extra_ms(replies: Sequence[Reply]) -> float:
    """The most that a request took beyond the median of its route; 0 where there is none."""
    by_route: dict[tuple[str, ...], list[float]] = {}
    for reply in replies:
        by_route.setdefault(reply.route, []).append(reply.latency_ms)
    return max((max(times) - statistics.median(times) for times in by_route.values()), default=0.0)


def _pruned_store(folder: Path) -> Path:
    """MobileNetV2 with blocks of half the filters, which are a little worse, so it says."""
    cost_store(folder, [MODEL], (PRUNED,))
    with Store.open(folder) as store:
        model = store.model(MODEL)
        blocks = tuple(
            replace(
                block,
                variants=tuple(
                    replace(v, accuracy_drop=PRUNED_DROP if v.name != block.variants[0].name else 0.0)
                    for v in block.variants
                ),
            )
            for block in model.blocks
        )
        store.put_model(replace(model, blocks=blocks, accuracy_model=None))
    return folder


def _trial(store: Path, folder: Path, number: int) -> Trial:
    state, runtime = folder / "cold-state", folder / f"run-cold{number}"
    frame = frame_of(store, MODEL)
    with daemon(store, state, runtime, COLD_CONFIG) as control, Client(runtime) as client:
        model: Mapping[str, float] = control.models()["models"][0]
        high_ms = 10.0 * model["full_p95_ms"]
        low_ms = 0.5 + (model["full_p95_ms"] + model["fastest_p95_ms"]) / 2
        client.register(MODEL, budget_ms=high_ms, rate_hz=10, app="swapped")
        for _ in range(FIRST_REQUESTS):
            client.infer(frame)
        with toggler(runtime, "swapped", low_ms, high_ms, 1.0) as operator:
            still = stream(client, frame, COLD_S)
            _forget(store)
            before_bytes = control.status()["resident_bytes"]
            operator.tell("go 1")
            swapping = stream(client, frame, COLD_S)
            (applied_ms,) = operator.hear(ANSWER_TIMEOUT_S)
        return Trial(still, swapping, applied_ms, control.status()["resident_bytes"] - before_bytes)


def _forget(store: Path) -> None:
    """The kernel drops what it keeps of the store's files, unless they are mapped."""
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
