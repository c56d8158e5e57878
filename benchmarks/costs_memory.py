"""Predicted memory of routes beside what a process that serves them really grows by.

A process that has run a tiny network, so that what an engine needs whatever it runs is there, loads and runs one route
after the other and keeps them all, as a daemon does for its apps: after each, what it has grown by in all is compared
with the sum of distinct blobs and the largest need of the arena. Beside that, each route has a process of its own, in
which the code of the kernels that no route before has touched counts in full.
"""

from __future__ import annotations

import json
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
from blockprofiles.compose import resident_bytes
from blockstore.block import Variant
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

ROUTES = 20
FRAMES = 20
TIMEOUT_S = 120.0
SMALL = "small"
Named = tuple[str, tuple[str, ...]]
"""A model and the blobs of a route."""
FIGURES = ("memory_error_median", "memory_error_p95", "memory_error_fresh_median")


def measure(store: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Every figure of this file; the routes are spread over the models, the profile is kept in `scratch`."""
    table, _ = profiled(store, scratch, *(["--quick"] if quick else []))
    small = scratch / "small"
    with Store.open(store) as opened, Store.open(small, create=True) as made:
        known = [opened.model(name) for name in MODELS]
        add_network(made, SMALL, 32)
    draw = np.random.default_rng(5)
    routes = [
        (model.name, tuple(str(draw.choice(_digests(block.variants))) for block in model.blocks))
        for number in range(3 if quick else ROUTES)
        for model in (known[number % len(known)],)
    ]
    rows = [[table.row(digest) for digest in route] for _, route in routes]
    together = [resident_bytes([row for more in rows[: count + 1] for row in more]) for count in range(len(rows))]
    grown = _grown_bytes(small, store, routes)
    fresh = [_grown_bytes(small, store, [route])[0] for route in routes]
    errors = _errors(together, grown)
    samples = {"predicted_bytes": together, "grown_bytes": grown}
    alone = [resident_bytes(more) for more in rows]
    return {
        "memory_error_median": Figure(statistics.median(errors), "%", Target("<=", 10), samples),
        "memory_error_p95": Figure(float(np.percentile(errors, 95)), "%", samples={"errors": errors}),
        "memory_error_fresh_median": Figure(
            statistics.median(_errors(alone, fresh)), "%", samples={"predicted_bytes": alone, "grown_bytes": fresh}
        ),
    }


def _errors(predicted: Sequence[int], grown: Sequence[int]) -> list[float]:
    return [100 * abs(p / g - 1) for p, g in zip(predicted, grown, strict=True)]


def _grown_bytes(small: Path, store: Path, routes: Sequence[Named]) -> list[int]:
    """Resident bytes that a fresh process has grown by after each of `routes`."""
    command = [sys.executable, "-m", "benchmarks.costs_memory", str(small), str(store)]
    done = subprocess.run(
        command, input=json.dumps(routes), stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True, text=True
    )
    found: list[int] = json.loads(done.stdout)
    return found


def grow(small: Path, store: Path, routes: Sequence[Named]) -> list[int]:
    """What `_grown_bytes` asks of its process."""
    engine = OnnxEngine(threads=1)
    held: dict[str, OnnxBlock] = {}
    _run(engine, held, small, SMALL, None)
    process = psutil.Process()
    before, grown = process.memory_info().rss, []
    for name, route in routes:
        _run(engine, held, store, name, route)
        grown.append(process.memory_info().rss - before)
    return grown


def _run(engine: OnnxEngine, held: dict[str, OnnxBlock], store: Path, name: str, route: Sequence[str] | None) -> None:
    """Load the blocks of a route (None: the originals) that are not `held`, and run some frames."""
    with Store.open(store) as opened:
        model = opened.model(name)
        digests = route or [_digests(block.variants)[0] for block in model.blocks]
        for digest in digests:
            if digest not in held:
                held[digest] = engine.load(opened.path(digest))
    for _ in range(FRAMES):
        tensor = random_frame(model.input)
        for digest in digests:
            tensor = held[digest].run(tensor)


def _digests(variants: Sequence[Variant]) -> list[str]:
    return [a.digest for v in variants if (a := v.artifact(OnnxEngine.name))]


if __name__ == "__main__":
    print(json.dumps(grow(Path(sys.argv[1]), Path(sys.argv[2]), json.load(sys.stdin))))
