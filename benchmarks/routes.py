"""Routes of a store, run for the builder's benchmark: measured latency, side by side, and accuracy on unseen images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from blockprofiles.effort import STANDARD
from blockprofiles.listener import Silent
from blockprofiles.measure import measure
from blockstore.accuracy_model import Route
from blockstore.block import Model
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

ROUNDS = 301
"""Frames that every route is timed on."""
PROFILE_S = 20.0
BATCH = 32

Chain = Sequence[OnnxBlock]
Array = np.ndarray[Any, Any]


class Routes:
    """All variants of one model of a store, loaded on one thread each."""

    def __init__(self, store: Store, name: str) -> None:
        self.model: Model = store.model(name)
        engine = OnnxEngine(threads=1)
        self._blocks = [
            [engine.load(store.path(v.artifacts[0].digest)) for v in block.variants] for block in self.model.blocks
        ]
        rows = measure(
            (self.model,),
            (engine,),
            store.path,
            effort=STANDARD,
            budget_s=PROFILE_S,
            now=time.perf_counter,
            listener=Silent(),
        ).rows
        by_digest = {row.digest: row.latency_ms for row in rows}
        self.latencies_ms = [[by_digest[v.artifacts[0].digest] for v in b.variants] for b in self.model.blocks]

    @property
    def original(self) -> Route:
        """The all-original route."""
        return (0,) * len(self.model.blocks)

    def chain(self, route: Route) -> Chain:
        """The loaded blocks of a route."""
        return [row[variant] for row, variant in zip(self._blocks, route, strict=True)]

    def alone_ms(self) -> list[list[float]]:
        """Median of each variant timed alone, over and over on one tensor: what the peer's profile holds."""
        tensor, found = _frame(self.model), []
        for row in self._blocks:
            found.append([_median_ms([lambda b=block, t=tensor: b.run(t)])[0] for block in row])
            tensor = row[0].run(tensor)
        return found

    def names(self, route: Route) -> str:
        """Variants of a route, block by block."""
        return ", ".join(b.variants[v].name for b, v in zip(self.model.blocks, route, strict=True))


def side_by_side_ms(chains: Mapping[str, Chain], frame: Array) -> dict[str, list[float]]:
    """Times of each chain on one frame, in ms."""
    return in_turns_ms({name: partial(run, chain, frame) for name, chain in chains.items()})


def share_of(chain: Chain, original: Chain, frame: Array) -> tuple[float, dict[str, list[float]]]:
    """Median time of `chain` as a share of that of `original`, both in turns, and the samples in ms.

    Two at a time: among twenty others each is colder in the caches when its turn comes, and small ones lose most.
    """
    times = side_by_side_ms({"original": original, "route": chain}, frame)
    return statistics.median(times["route"]) / statistics.median(times["original"]), times


def in_turns_ms(calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Times of each call, in ms: round after round, all take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began_s = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - began_s))
    return times


def frame_of(model: Model) -> Array:
    """A frame to time on."""
    return _frame(model)


def accuracy(chain: Chain, images: Array, labels: Array) -> float:
    """Share of `images` whose highest output is the label."""

    def correct(start: int) -> int:
        outputs = run(chain, images[start : start + BATCH])
        return int((outputs.argmax(1) == labels[start : start + BATCH]).sum())

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(correct, range(0, len(images), BATCH))) / len(images)


def run(chain: Chain, tensor: Array) -> Array:
    """What the last block gives for `tensor`, which the first one takes."""
    for block in chain:
        tensor = block.run(tensor)
    return tensor


def _frame(model: Model) -> Array:
    return np.random.default_rng(0).integers(0, 256, (1, *model.input.shape), np.uint8)


def _median_ms(calls: Sequence[Callable[[], object]]) -> list[float]:
    medians = []
    for call in calls:
        times = []
        for _ in range(60):
            began_s = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - began_s))
        medians.append(statistics.median(times[10:]))
    return medians
