"""Time variants inside whole warm routes.

A block timed alone finds its own weights in the cache, in a route it finds another block's. With 5 MB of
weights a block, the sums of isolated medians missed the time of a route by 5 to 6%, those of this method by 0.3%.

A round is a few whole routes that together contain every variant, and the clock is read at every block boundary,
as a lane does. Each round combines the variants anew, so that every variant is seen beside many others, and a
disturbance of the machine hits all alike. The first route of a round also runs the exits, each after its block and on
the tensors that it takes there; the others do not, so that the blocks are mostly timed as they run without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from blockprofiles.bench import Bench, Candidate, HeadCandidate

WARM_UP_ROUNDS = 3
MIN_ROUNDS = 5
"""Measured even when the time is up: a median of fewer is not worth having."""
STEADY_ROUNDS = 60
"""Rounds after which a small spread ends the measurement; the 95th percentile has 3 of them above it."""
MAX_ROUNDS = 200
STEADY_UNCERTAINTY = 0.005
"""Uncertainty of a median, relative to it, that is small enough."""

Samples = Mapping[str, Sequence[float]]
"""Digest -> times in ms, in the order they were taken."""


def time_rounds(bench: Bench, end_s: float, now: Callable[[], float], progress: Callable[[float], None]) -> Samples:
    """Times of rounds until `now()` reaches `end_s`, the medians are steady, or `MAX_ROUNDS` are done."""
    generator = np.random.default_rng(0)
    for _ in range(WARM_UP_ROUNDS):
        _run_round(bench, generator, now, defaultdict(list))
    samples: defaultdict[str, list[float]] = defaultdict(list)
    begin_s = now()
    for done in range(MAX_ROUNDS):
        passed = (now() - begin_s) / max(end_s - begin_s, 1e-9)
        if done >= MIN_ROUNDS and (passed >= 1 or steady(samples)):
            break
        _run_round(bench, generator, now, samples)
        progress(min(1.0, max(passed, done / MAX_ROUNDS)))
    return samples


def covering_routes(bench: Bench, generator: np.random.Generator) -> Iterator[tuple[Candidate, ...]]:
    """As few routes as hold every variant of every block, combined at random; a short block repeats its own."""
    count = max(map(len, bench.blocks))
    orders = [generator.permutation(count) % len(candidates) for candidates in bench.blocks]
    for picks in zip(*orders, strict=True):
        yield tuple(candidates[pick] for candidates, pick in zip(bench.blocks, picks, strict=True))


def steady(samples: Samples) -> bool:
    """Whether every median is known well enough to stop."""
    return all(
        len(times) >= STEADY_ROUNDS and median_uncertainty(times) <= STEADY_UNCERTAINTY for times in samples.values()
    )


def median_uncertainty(samples: Sequence[float]) -> float:
    """Half-width of the 95% interval of the median, relative to it.

    1.57 IQR / sqrt(n): McGill, Tukey and Larsen, "Variations of box plots", The American Statistician 32 (1978).
    """
    lower, median, upper = np.percentile(samples, (25, 50, 75))
    return float(1.57 * (upper - lower) / np.sqrt(len(samples)) / median)


def _run_round(
    bench: Bench,
    generator: np.random.Generator,
    now: Callable[[], float],
    samples: defaultdict[str, list[float]],
) -> None:
    heads = bench.heads
    for route in covering_routes(bench, generator):
        for digest, time_ms in _times(bench.frame, route, heads, now):
            samples[digest].append(time_ms)
        heads = ()


def _times(
    frame: Any, route: Sequence[Candidate], heads: Sequence[HeadCandidate], now: Callable[[], float]
) -> list[tuple[str, float]]:
    """Digest and time in ms of what ran, in order."""
    times_ms = []
    taken = {block for head in heads for block in head.inputs}
    outputs: dict[int, Any] = {}
    after = {head.inputs[-1]: head for head in heads}
    tensor, last_s = frame, now()
    for block, candidate in enumerate(route):
        tensor, before_s, last_s = candidate.block.run(tensor), last_s, now()
        times_ms.append((candidate.digest, (last_s - before_s) * 1e3))
        if block in taken:
            outputs[block] = tensor
        if block in after:
            head = after[block]
            head.head.run([outputs[i] for i in head.inputs])
            before_s, last_s = last_s, now()
            times_ms.append((head.digest, (last_s - before_s) * 1e3))
    return times_ms
