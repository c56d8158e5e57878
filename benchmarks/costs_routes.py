"""Predicted against measured latency of routes: composed from a full profile, from a quick one, and by the peer's rule.

A route is measured as an app that has the lane to itself runs it: over and over, on a pinned core. The routes are
visited several times in shuffled order, so that a slow phase of the host hits all alike.

The profile is older by a minute, in which the host's clock may have moved by a few percent. The peer's rule has the
original's latency of the moment; so that like is compared with like, ours is shown with that calibration as well.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Target
from blockprofiles.bench import random_frame
from blockprofiles.compose import compose
from blockprofiles.table import Table
from blockstore.block import Model, Variant
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

MODELS = ("resnet20", "resnet56", "mobilenetv2")
ROUTES = 100
VISITS = 5
WARM_UP, TIMED = 3, 7
"""Runs of one visit; the first ones find the caches full of another route."""
PROFILE_TIMEOUT_S = 600.0
ALONE_RUNS = 60
OF_A_MODEL = ("median", "p95", "calibrated_median", "peer_median")
FIGURES = (
    "route_error_median",
    "route_error_p95",
    *(f"{name}_route_error_{what}" for name in MODELS for what in OF_A_MODEL),
    "quick_profile_s",
    "quick_profile_measured",
    "quick_route_error",
    "full_profile_s",
)
Variants = tuple[str, ...]


@dataclass(frozen=True)
class Timed:
    """One route of one model: the digests of its variants, and what was measured of it."""

    digests: Variants
    samples_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Of all visits."""
        return statistics.median(self.samples_ms)


def profiled(store: Path, state: Path, *options: str) -> tuple[Table, float]:
    """The table that `schedulerd profile` makes of a store, and the seconds that the command took."""
    command = [sys.executable, "-m", "schedulerd", "profile", "--threads", "1", *options]
    began_s = time.monotonic()
    done = subprocess.run(
        [*command, "--store", str(store), "--state", str(state)],
        stdout=subprocess.PIPE,
        timeout=PROFILE_TIMEOUT_S,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began_s
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-500:]}")
    (path,) = (state / "profiles").glob("*.json")
    return Table.load(path), seconds


def measure(store: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Every figure of this file."""
    table, full_s = profiled(store, scratch / "full", *(["--quick"] if quick else []))
    hasty, quick_s = profiled(store, scratch / "quick", "--quick")
    found = {
        "full_profile_s": Figure(full_s, "s"),
        "quick_profile_s": Figure(quick_s, "s", Target("<=", 10)),
        "quick_profile_measured": Figure(
            100 * sum(row.source == "measured" for row in hasty.rows) / len(hasty.rows), "% of variants"
        ),
    }
    errors: list[float] = []
    hasty_errors: list[float] = []
    with Store.open(store) as opened, _pinned():
        for name in MODELS:
            model = opened.model(name)
            lane = _Lane(model, opened)
            original = tuple(_digests(block.variants)[0] for block in model.blocks)
            drawn = _drawn(model, 10 if quick else ROUTES)
            # The original among the others: what slows the host for a moment is to hit it no more than them.
            whole, *times = lane.timed([original, *drawn], 2 if quick else VISITS)
            relative = _errors(times, table)
            errors += relative
            ours = [p * whole.median_ms / _predicted_ms(whole, table) for p in (_predicted_ms(t, table) for t in times)]
            peers = lane.peers_ms(times, whole.median_ms)
            chosen = lane.timed(_chosen(model, hasty), 2 if quick else VISITS)
            hasty_errors += _errors(chosen, hasty)
            found |= {
                f"{name}_route_error_median": _percent(relative, 50),
                f"{name}_route_error_p95": _percent(relative, 95),
                f"{name}_route_error_calibrated_median": _percent(_relative(ours, times), 50),
                f"{name}_route_error_peer_median": _percent(_relative(peers, times), 50),
            }
    return found | {
        "route_error_median": _percent(errors, 50, Target("<=", 5)),
        "route_error_p95": _percent(errors, 95, Target("<=", 12)),
        "quick_route_error": _percent(hasty_errors, 50, Target("<=", 10)),
    }


class _Lane:
    """All variants of one model on one thread."""

    def __init__(self, model: Model, store: Store) -> None:
        engine = OnnxEngine(threads=1)
        self._model = model
        self._frame = engine.feed(random_frame(model.input))
        digests = {d for block in model.blocks for d in _digests(block.variants)}
        self._loaded = {digest: engine.load(store.path(digest)) for digest in sorted(digests)}

    def timed(self, routes: Sequence[Variants], visits: int) -> list[Timed]:
        """Times of whole routes."""
        samples: dict[Variants, list[float]] = {route: [] for route in routes}
        draw = np.random.default_rng(2)
        for _ in range(visits):
            for number in draw.permutation(len(routes)):
                route = routes[number]
                chain = [self._loaded[digest] for digest in route]
                samples[route] += [self._run_ms(chain) for _ in range(WARM_UP + TIMED)][WARM_UP:]
        return [Timed(route, tuple(samples[route])) for route in routes]

    def peers_ms(self, routes: Sequence[Timed], original_ms: float) -> list[float]:
        """LegoDNN's rule with its calibration repaired: the original's latency, measured just now, less relative drops.

        The drops are of blocks timed one at a time, over and over, as shares of what the originals take in all so.
        """
        original = [_digests(block.variants)[0] for block in self._model.blocks]
        alone_ms = self._alone_ms(original)
        all_ms = sum(alone_ms[digest] for digest in original)
        return [
            original_ms
            * (1 - sum(alone_ms[o] - alone_ms[v] for o, v in zip(original, t.digests, strict=True)) / all_ms)
            for t in routes
        ]

    def _alone_ms(self, original: Sequence[str]) -> dict[str, float]:
        tensor, found = self._frame, {}
        for block, first in zip(self._model.blocks, original, strict=True):
            for digest in _digests(block.variants):
                found[digest] = statistics.median(
                    [self._run_ms([self._loaded[digest]], tensor) for _ in range(ALONE_RUNS)]
                )
            tensor = self._loaded[first].run(tensor)
        return found

    def _run_ms(self, chain: Sequence[OnnxBlock], tensor: np.ndarray | None = None) -> float:
        tensor = self._frame if tensor is None else tensor
        began_s = time.perf_counter()
        for block in chain:
            tensor = block.run(tensor)
        return 1e3 * (time.perf_counter() - began_s)


def _drawn(model: Model, count: int) -> list[Variants]:
    """Distinct routes, every variant as likely."""
    draw = np.random.default_rng(1)
    found: dict[Variants, None] = {}
    while len(found) < count:
        found[tuple(str(draw.choice(_digests(block.variants))) for block in model.blocks)] = None
    return list(found)


def _chosen(model: Model, table: Table) -> list[Variants]:
    """Routes that are taken for their predicted latency: the most parameters within shares of the original's."""
    found: dict[Variants, None] = {}
    original_ms = sum(table.row(_digests(block.variants)[0]).latency_ms for block in model.blocks)
    for share in np.linspace(0.4, 1.0, 13):
        found[_greedy(model, table, share * original_ms)] = None
    return list(found)


def _greedy(model: Model, table: Table, limit_ms: float) -> Variants:
    """Beginning with the originals, the swap that saves most time per parameter lost, until the limit is kept."""
    route = [block.variants[0] for block in model.blocks]
    while sum(table.row(_of(v)).latency_ms for v in route) > limit_ms:
        swaps = [
            (saved_ms / max(1, route[b].parameters - v.parameters), b, v)
            for b, block in enumerate(model.blocks)
            for v in block.variants
            if (saved_ms := table.row(_of(route[b])).latency_ms - table.row(_of(v)).latency_ms) > 0
        ]
        if not swaps:
            break
        _, b, variant = max(swaps, key=lambda swap: swap[0])
        route[b] = variant
    return tuple(map(_of, route))


def _errors(routes: Sequence[Timed], table: Table) -> list[float]:
    """Of the composed latency, relative to the measured one."""
    return _relative([_predicted_ms(route, table) for route in routes], routes)


def _predicted_ms(route: Timed, table: Table) -> float:
    return compose([table.row(digest) for digest in route.digests], alone=True).latency_ms


def _relative(predicted_ms: Sequence[float], routes: Sequence[Timed]) -> list[float]:
    return [abs(ms / route.median_ms - 1) for ms, route in zip(predicted_ms, routes, strict=True)]


def _percent(errors: Sequence[float], share: float, target: Target | None = None) -> Figure:
    return Figure(100 * float(np.percentile(errors, share)), "%", target, {"errors": list(errors)})


def _digests(variants: Sequence[Variant]) -> list[str]:
    return [_of(variant) for variant in variants]


def _of(variant: Variant) -> str:
    artifact = variant.artifact(OnnxEngine.name)
    assert artifact is not None, "cost stores have a form for onnxruntime"
    return artifact.digest


@contextmanager
def _pinned() -> Iterator[None]:
    """This process on the core that profiles are measured on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
