"""Predicted memory of routes beside what a process that serves them really grows by.

Each route is loaded and run in a fresh process, which has run another network before: what the engine needs whatever it
runs is there by then, as in a daemon.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from benchmarks.costs_routes import MODELS, profiled
from benchmarks.harness import Figure, Target
from blockprofiles.bench import random_frame
from blockprofiles.compose import compose
from blockstore.block import Variant
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxEngine

ROUTES = 20
FRAMES = 20
TIMEOUT_S = 120.0
FIGURES = ("memory_error_median", "memory_error_p95")


def measure(store: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Every figure of this file; the routes are spread over the models, the profile is kept in `scratch`."""
    table, _ = profiled(store, scratch, *(["--quick"] if quick else []))
    draw = np.random.default_rng(5)
    errors = []
    with Store.open(store) as opened:
        known = [opened.model(name) for name in MODELS]
    for number in range(3 if quick else ROUTES):
        model, other = known[number % len(known)], known[(number + 1) % len(known)]
        route = [str(draw.choice(_digests(block.variants))) for block in model.blocks]
        warm = _digests(other.blocks[-1].variants)[0]
        grown = _grown_bytes(store, model.name, route, other.name, warm)
        predicted = compose([table.row(digest) for digest in route], alone=True).memory_bytes
        errors.append(100 * abs(predicted / grown - 1))
    return {
        "memory_error_median": Figure(statistics.median(errors), "%", Target("<=", 10), {"errors": errors}),
        "memory_error_p95": Figure(float(np.percentile(errors, 95)), "%", samples={"errors": errors}),
    }


def _grown_bytes(store: Path, model: str, route: Sequence[str], other: str, warm: str) -> int:
    """Resident bytes that a fresh process grew by when it loaded and ran `route`."""
    command = [sys.executable, "-m", "benchmarks.costs_memory", str(store), other, warm, model, *route]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    return int(done.stdout)


def grow(store: Path, other: str, warm: str, name: str, route: Sequence[str]) -> int:
    """What `_grown_bytes` asks of its process: `warm` is a block of `other` that is run first."""
    engine = OnnxEngine(threads=1)
    with Store.open(store) as opened:
        first, model = opened.model(other), opened.model(name)
        paths = [opened.path(digest) for digest in route]
        warming = opened.path(warm)
    spec = next(block.input for block in first.blocks if warm in _digests(block.variants))
    kept = engine.load(warming)
    kept.run(random_frame(spec))
    process = psutil.Process()
    before = process.memory_info().rss
    chain = [engine.load(path) for path in paths]
    for _ in range(FRAMES):
        tensor = random_frame(model.input)
        for block in chain:
            tensor = block.run(tensor)
    return int(process.memory_info().rss - before)


def _digests(variants: Sequence[Variant]) -> list[str]:
    return [a.digest for v in variants if (a := v.artifact(OnnxEngine.name))]


if __name__ == "__main__":
    print(grow(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
