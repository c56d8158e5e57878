"""Stores of the builder's benchmarks: made by the command that users give, with its bill, and routes chosen in them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.harness import Figure, Target
from benchmarks.routes import Routes, frame_of, share_of
from benchmarks.search import most_accurate
from blockstore.accuracy_model import Route

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
OUT = ROOT / "out" / "builder"
RECIPES = Path(__file__).parent / "recipes"
TOLERANCE = 1.01
"""A route may measure so much over its share: the spread of medians between two runs."""
SEARCHES = 8
"""Limits that are tried for one share."""
BUILD_TIMEOUT_S = 3600.0
"""A store of ResNet-56 took a fifth of it."""


@dataclass(frozen=True)
class Build:
    """What a build took, with all its processes, and how many variants were retrained or encoded."""

    cpu_s: dict[str, float]
    """By stage."""
    peak_rss_mb: float
    variants: int


def build(name: str, options: Sequence[str]) -> Build:
    """Build the store OUT/`name` anew, by `schedulerd build` with `options`; its report goes beside it."""
    store = OUT / name
    where = ["--name", name, "--store", str(store), "--report", str(OUT / "reports" / name)]
    command = [sys.executable, "-m", "schedulerd", "build", *options, *where, "--json"]
    shutil.rmtree(store, ignore_errors=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    peak = _Peak(process.pid)
    try:
        out, _ = process.communicate(timeout=BUILD_TIMEOUT_S)
    finally:
        process.kill()
        peak_rss_mb = peak.stop()
    if process.returncode:
        raise RuntimeError(f"the build of {name} ended with exit code {process.returncode}")
    document = json.loads(out)
    dominated = sum(bool(gone["beaten_by"]) for gone in document["left_out"])
    variants = dominated + sum(len(block["variants"]) for block in document["blocks"])
    return Build({c["stage"]: c["cpu_s"] for c in document["costs"]}, peak_rss_mb, variants)


def measured(network: str, names: Sequence[str], measure: Callable[[], Mapping[str, Figure]]) -> dict[str, Figure]:
    """What `measure` gives for one network, by full names; where its build fails `names` have none, with the reason."""
    try:
        found = {f"{network}_{name}": figure for name, figure in measure().items()}
    # Whatever it is: the figures of another network, which took half an hour, are not lost with it.
    except Exception as error:
        return {name: Figure(None, "-", reason=f"{type(error).__name__}: {error}") for name in names}
    for name, figure in found.items():
        print(figure.line(name), file=sys.stderr, flush=True)
    return found


def accuracy_model_mae(routes: Routes, target: Target | None = None) -> Figure:
    """Mean error of the accuracy model on combinations that it has not seen."""
    known = routes.model.accuracy_model
    if known is None or known.error is None:
        return Figure(None, "points", target, reason="no combination was left to check it on")
    return Figure(100 * known.error, "points", target)


def route_within(routes: Routes, share: int, allowed: Callable[[int, int], bool] = lambda *_: True) -> Route:
    """The most accurate route, as predicted, of those tried that measure within `share` percent of the original.

    A route takes less or more than its rows add up to: the sum is asked for less while the route it gives measures over
    the share, and for more while one measures under it. `allowed(block, variant)` narrows the choice; the quickest
    route where none is within.
    """
    known, model = routes.model.accuracy_model, routes.model
    assert known is not None
    limit_ms = share / 100 * sum(row[0] for row in routes.latencies_ms)
    best: Route | None = None
    excess: dict[Route, float] = {}
    for _ in range(SEARCHES):
        route = most_accurate(known, routes.latencies_ms, limit_ms, allowed)
        if route not in excess:
            measured_share, _ = share_of(routes.chain(route), routes.chain(routes.original), frame_of(model))
            excess[route] = measured_share / (share / 100)
        if excess[route] <= TOLERANCE and (best is None or known.predict(route) > known.predict(best)):
            best = route
        # Not the whole way: where a limit gives one route over and over, it still moves on.
        limit_ms /= excess[route] ** 0.7 if excess[route] < 1 else excess[route]
    return best or most_accurate(known, routes.latencies_ms, 0.0, allowed)


class _Peak:
    """Highest resident memory of a process with its children, looked at a few times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._highest, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """In MB."""
        self._over.set()
        self._thread.join()
        return self._highest / 1e6

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            with suppress(psutil.Error):
                root = psutil.Process(self._pid)
                everyone = [root, *root.children(recursive=True)]
                self._highest = max(self._highest, sum(p.memory_info().rss for p in everyone))
