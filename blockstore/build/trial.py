"""Trial: measured accuracy of routes through their ONNX forms, which are what is served, on the held-out images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np

from blockstore.accuracy_model import Route
from blockstore.block import TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.evaluate import Runner, merged, refer, route_tallies
from blockstore.build.export import run, session
from blockstore.build.images import Labelled
from blockstore.build.manifest import by_block
from blockstore.build.measured import Measured, measure_all, route_key
from blockstore.build.tasks.base import Array, Outputs, Reference, Score, Task
from blockstore.build.variants import Finished
from blockstore.outputs import unpack


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What, besides a route, decides what is measured of it, and where."""

    task: Task
    data: Labelled
    outputs: tuple[TensorSpec, ...]
    """Of the network."""
    batch_size: int
    workers: int
    """Threads of ours; each runs its own part of the images, on one thread of the engine."""
    kept: Work
    """Where scores are kept, so that a killed build does not measure them again."""


class Trial:
    """All finished variants, loaded."""

    def __init__(self, finished: Iterable[Finished], circumstances: Circumstances) -> None:
        onnx = [[f.forms().onnx for f in row] for row in by_block(finished)]
        self._circumstances = circumstances
        self._digests = [[hashlib.sha256(data).hexdigest() for data in row] for row in onnx]
        self._blocks = [
            [_runner(data, circumstances.outputs if row is onnx[-1] else ()) for data in row] for row in onnx
        ]
        self._kept = Measured(circumstances.kept)
        self._about = (circumstances.task.key, _digest(circumstances.data), str(circumstances.batch_size))
        self._reference: Reference | None = None

    @property
    def widths(self) -> list[int]:
        """How many variants each block has."""
        return [len(row) for row in self._blocks]

    def scores(self, routes: Sequence[Route], progress: Callable[[int, int], None]) -> dict[Route, Score]:
        """What each of `routes` is worth."""
        return measure_all(routes, self._key, self._run, self._kept, progress)

    def _key(self, route: Route) -> str:
        return route_key(self._about, [row[variant] for row, variant in zip(self._digests, route, strict=True)])

    def _run(self, routes: Sequence[Route]) -> dict[Route, Score]:
        about = self._circumstances
        if self._reference is None:
            self._reference = refer(about.task, self._blocks, about.data, about.batch_size)
        reference, images = self._reference, about.data.images
        # Whole batches for each worker: what a route gives must not depend on how many there are.
        batches = -(-len(images) // about.batch_size)
        bounds = [about.batch_size * (batches * i // about.workers) for i in range(about.workers + 1)]
        parts = [(first, images[first:last]) for first, last in pairwise(bounds) if first < last]
        with ThreadPoolExecutor(len(parts)) as pool:
            tallies = pool.map(
                lambda part: route_tallies(self._blocks, routes, part[1], part[0], reference, about.batch_size),
                parts,
            )
            return {route: tally.score() for route, tally in reduce(merged, tallies).items()}


def _digest(data: Labelled) -> str:
    """Of images and labels."""
    digest = hashlib.sha256(data.images.tobytes())
    labels = [] if data.labels is None else [data.labels] if isinstance(data.labels, np.ndarray) else data.labels
    for part in labels:
        digest.update(str(part.shape).encode() + part.tobytes())
    return digest.hexdigest()


def _runner(onnx: bytes, outputs: tuple[TensorSpec, ...]) -> Runner:
    loaded = session(onnx, threads=1)

    def give(tensor: Array) -> Outputs:
        packed = run(loaded, tensor)
        return unpack(packed, outputs) if len(outputs) > 1 else packed

    return give
