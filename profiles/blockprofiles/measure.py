"""Measure what the variants and exits of models cost on this device, within a time budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blockprofiles.bench import Bench, Candidate, Engine, HeadCandidate, set_up
from blockprofiles.record import Row
from blockprofiles.rounds import Samples, time_rounds
from blockstore.block import Model

RESOLUTION_DIGITS = 5
"""Times are kept to 10 ns."""
WIDE_SPREAD = 1.5
"""95th percentile over median. On a quiet board it is 1.05 to 1.3."""


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
    """Rows of all variants and exits of `models` that `engine` runs, except those whose digest is `known`.

    `path_of` gives the verified file of a digest. `now` counts seconds; `progress` is told the share that is
    done, 0 to 1. One model is in memory at a time. `budget_s` is shared among the models and includes loading;
    it is overrun where the least number of rounds takes longer. A variant or an exit that fails is left out
    and named in `faults`.
    """
    end_s = now() + budget_s
    rows: dict[str, Row] = {}
    faults: list[str] = []
    for number, model in enumerate(models):
        model_end_s = now() + (end_s - now()) / (len(models) - number)
        bench = set_up(model, engine, path_of, {*known, *rows}, faults.append)
        if bench is not None:
            samples = time_rounds(bench, model_end_s, now, _part(progress, number, len(models)))
            rows |= {r.digest: r for r in _rows(bench, samples, engine.name, threads) if r.digest not in known}
        progress((number + 1) / len(models))
    return Measurement(tuple(rows.values()), tuple(faults))


def disturbed(rows: Sequence[Row]) -> bool:
    """Whether other programs were at work: more than a quarter of the rows have a wide spread."""
    return sum(row.latency_p95_ms > WIDE_SPREAD * row.latency_ms for row in rows) > len(rows) / 4


def _part(progress: Callable[[float], None], number: int, count: int) -> Callable[[float], None]:
    """The progress of one part of `count`, as progress of the whole."""
    return lambda share: progress((number + share) / count)


def _rows(bench: Bench, samples: Samples, engine: str, threads: int) -> Iterator[Row]:
    taking_part: list[Candidate | HeadCandidate] = [c for candidates in bench.blocks for c in candidates]
    for candidate in (*taking_part, *bench.heads):
        times_ms = samples[candidate.digest]
        median_ms, p95_ms = np.percentile(times_ms, (50, 95))
        yield Row(
            digest=candidate.digest,
            engine=engine,
            threads=threads,
            latency_ms=round(float(median_ms), RESOLUTION_DIGITS),
            latency_p95_ms=round(float(p95_ms), RESOLUTION_DIGITS),
            memory_bytes=candidate.memory_bytes,
            samples_ms=tuple(round(t, RESOLUTION_DIGITS) for t in times_ms),
        )
