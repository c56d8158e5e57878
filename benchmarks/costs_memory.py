"""Predicted memory of routes beside what a process that serves them really grows by.

Each route is loaded and run in a fresh process, which has run a tiny network before: what the engine needs whatever it
runs is there by then, as in a daemon, and of the arena next to nothing is.
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
from benchmarks.networks import add_network
from blockprofiles.bench import random_frame
from blockprofiles.compose import compose
from blockstore.block import Variant
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

ROUTES = 20
FRAMES = 20
TIMEOUT_S = 120.0
SMALL = "small"
FIGURES = ("memory_error_median", "memory_error_p95")


def measure(store: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Every figure of this file; the routes are spread over the models, the profile is kept in `scratch`."""
    table, _ = profiled(store, scratch, *(["--quick"] if quick else []))
    small = scratch / "small"
    with Store.open(store) as opened, Store.open(small, create=True) as made:
        known = [opened.model(name) for name in MODELS]
        add_network(made, SMALL, 32)
    draw = np.random.default_rng(5)
    predicted, grown = [], []
    for number in range(3 if quick else ROUTES):
        model = known[number % len(known)]
        route = [str(draw.choice(_digests(block.variants))) for block in model.blocks]
        predicted.append(compose([table.row(digest) for digest in route], alone=True).memory_bytes)
        grown.append(_grown_bytes(small, store, model.name, route))
    errors = [100 * abs(p / g - 1) for p, g in zip(predicted, grown, strict=True)]
    samples = {"predicted_bytes": predicted, "grown_bytes": grown}
    return {
        "memory_error_median": Figure(statistics.median(errors), "%", Target("<=", 10), samples),
        "memory_error_p95": Figure(float(np.percentile(errors, 95)), "%", samples={"errors": errors}),
    }


def _grown_bytes(small: Path, store: Path, model: str, route: Sequence[str]) -> int:
    """Resident bytes that a fresh process grew by when it loaded and ran `route`."""
    command = [sys.executable, "-m", "benchmarks.costs_memory", str(small), str(store), model, *route]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    return int(done.stdout)


def grow(small: Path, store: Path, name: str, route: Sequence[str]) -> int:
    """What `_grown_bytes` asks of its process."""
    engine = OnnxEngine(threads=1)
    warm = _run(engine, small, SMALL, None)
    process = psutil.Process()
    before = process.memory_info().rss
    held = _run(engine, store, name, route)
    grown = process.memory_info().rss - before
    assert warm, held
    return int(grown)


def _run(engine: OnnxEngine, store: Path, name: str, route: Sequence[str] | None) -> list[OnnxBlock]:
    """The loaded blocks of a route (None: the originals), after some frames."""
    with Store.open(store) as opened:
        model = opened.model(name)
        digests = route or [_digests(block.variants)[0] for block in model.blocks]
        chain = [engine.load(opened.path(digest)) for digest in digests]
    for _ in range(FRAMES):
        tensor = random_frame(model.input)
        for block in chain:
            tensor = block.run(tensor)
    return chain


def _digests(variants: Sequence[Variant]) -> list[str]:
    return [a.digest for v in variants if (a := v.artifact(OnnxEngine.name))]


if __name__ == "__main__":
    print(grow(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
