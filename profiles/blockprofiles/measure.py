"""Measure what variants cost, inside whole warm routes.

A block timed alone is faster than the same block in a route, where it finds another block's tensors in the cache, so
isolated times do not add up to the time of a route. Here each round runs a few whole routes that together contain
every variant, and takes the time at every block boundary, as a lane does. The variants are combined anew in each
round, so that every variant is seen beside many others, and a disturbance of the machine hits all alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blockprofiles.bench import Bench, Candidate, Engine, set_up
from blockprofiles.record import Row
from blockstore.block import Model

WARM_UP_ROUNDS = 3
MIN_ROUNDS = 5
"""Measured even when the budget is used up: a median of fewer is not worth having."""
MAX_ROUNDS = 200
STEADY_ROUNDS = 60
"""Rounds after which a small spread ends the measurement; the 95th percentile rests on at least 3 of them."""
STEADY_UNCERTAINTY = 0.005
"""Relative uncertainty of the median that is small enough."""

Samples = dict[str, list[float]]
"""Digest -> times in ms."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of measuring: rows, and in words what could not be measured."""

    rows: tuple[Row, ...]
    faults: tuple[str, ...]


def measure(
    models: Sequence[Model],
    engine: Engine,
    path_of: Callable[[str], Path],
    *,
    threads: int,
    budget_s: float,
    now: Callable[[], float],
    progress: Callable[[float], None],
    known: Collection[str] = frozenset(),
) -> Measurement:
    """Rows of all variants of `models` that `engine` runs, except those whose digest is `known`.

    `path_of` gives the verified file of a digest. `now` counts seconds; `progress` is told the share that is done, 0
    to 1. One model is in memory at a time. `budget_s` is shared among the models and includes loading; it is
    overrun where `MIN_ROUNDS` take longer. A variant that fails is left out and named in `faults`.
    """
    begin_s = now()
    samples: Samples = defaultdict(list)
    memory_bytes: dict[str, int] = {}
    faults: list[str] = []
    for number, model in enumerate(models):
        span = _Span(now(), begin_s + budget_s, len(models) - number, now)
        bench = set_up(model, engine, path_of, frozenset(known) | memory_bytes.keys(), faults.append)
        if bench is not None:
            done = number / len(models)
            times = _time(bench, span, lambda share, done=done: progress(done + share / len(models)))
            ...
        progress((number + 1) / len(models))
    ...
