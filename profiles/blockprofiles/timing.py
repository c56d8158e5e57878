"""Rows of one bench: its rounds, with what is told of them meanwhile, and what else is known of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from blockprofiles.bench import Bench, Key
from blockprofiles.conditions import Conditions, on_cores
from blockprofiles.effort import Effort
from blockprofiles.energy import Sensor, idle_power_w, running_power_w
from blockprofiles.listener import Listener
from blockprofiles.record import Row
from blockprofiles.resident import arena_bytes
from blockprofiles.rounds import Rounds, Samples, covering_routes, median_uncertainty, run_route

RESOLUTION_DIGITS: Final = 5
"""Times are kept to 10 ns."""
CHECKPOINT_S: Final = 2.0
"""So often the listener gets the rows so far."""


@dataclass(frozen=True, slots=True)
class Way:
    """How all benches are timed."""

    effort: Effort
    now: Callable[[], float]
    listener: Listener
    conditions: Conditions


def rows_of(
    bench: Bench,
    batch: int,
    known: Mapping[Key, Row],
    way: Way,
    end_s: float | None,
    tell: Callable[[float], None],
) -> tuple[Row, ...]:
    """Time everything that is wanted of `bench`, whose frame is a batch of `batch`.

    It goes on with those of the `known` rows that are of it. The rows so far are told to the listener every
    `CHECKPOINT_S` and at the end, and `tell` is told the share that is done after each round. `end_s` is a time by
    `way.now`, None for no limit.
    """
    now, began_s = way.now, way.now()
    made = _Made(bench, batch, arena_bytes(bench, way.listener), way.conditions)
    rounds = Rounds(bench, way.effort, now, way.conditions.others, _samples_of(bench, known), end_s)
    told_s = began_s
    with on_cores({way.conditions.core}):
        for _ in rounds.run():
            passed = 0.0 if end_s is None else (now() - began_s) / max(end_s - began_s, 1e-9)
            tell(min(1.0, max(passed, rounds.share())))
            if now() - told_s >= CHECKPOINT_S:
                told_s = _tell_rows(way.listener, made.rows(rounds.samples, {}, complete=False), now)
        powers_w = {} if way.effort.designed else _powers_w(bench, way.conditions.sensor, now)
    # A hasty look is not all that can be known: whoever has time goes on with its samples.
    rows = made.rows(rounds.samples, powers_w, complete=rounds.done and not way.effort.designed)
    _tell_rows(way.listener, rows, now)
    return rows


def _tell_rows(listener: Listener, rows: tuple[Row, ...], now: Callable[[], float]) -> float:
    """Returns when they have been told. There are none as long as all rounds were thrown away."""
    if rows:
        listener.rows(rows)
    return now()


@dataclass(frozen=True, slots=True)
class _Made:
    """What rows are made of, beside their samples."""

    bench: Bench
    batch: int
    arenas_bytes: Mapping[Key, int]
    conditions: Conditions

    def rows(self, samples: Samples, powers_w: Mapping[Key, float], complete: bool) -> tuple[Row, ...]:
        """Of everything that has been timed. Asked for right after a round, while the clock is what it was in it."""
        return tuple(self._rows(samples, powers_w, complete))

    def _rows(self, samples: Samples, powers_w: Mapping[Key, float], complete: bool) -> Iterator[Row]:
        clock_mhz, temperature_c = self.conditions.clock_mhz(), self.conditions.temperature_c()
        others = float(np.mean(samples.others)) if samples.others else None
        for key, candidate in self.bench.wanted().items():
            warm_ms, cold_ms = samples.warm_ms[key], samples.cold_ms[key]
            if not warm_ms or not cold_ms:
                continue
            median_ms, slow_ms = float(np.median(warm_ms)), float(np.percentile(cold_ms, 95))
            power_w = powers_w.get(key)
            yield Row(
                digest=key.digest,
                engine=key.engine,
                threads=key.threads,
                batch=self.batch,
                latency_ms=_rounded(median_ms),
                # A clock that slows down while only routes are warm would turn them round.
                latency_p95_ms=_rounded(max(slow_ms, median_ms)),
                cold_ms=_rounded(float(np.median(cold_ms))),
                samples_ms=tuple(map(_rounded, warm_ms)),
                cold_samples_ms=tuple(map(_rounded, cold_ms)),
                memory_bytes=candidate.memory_bytes,
                arena_bytes=self.arenas_bytes[key],
                uncertainty=round(median_uncertainty(warm_ms), RESOLUTION_DIGITS),
                energy_mj=None if power_w is None else _rounded(power_w * median_ms),
                clock_mhz=clock_mhz,
                temperature_c=temperature_c,
                others=None if others is None else round(others, RESOLUTION_DIGITS),
                complete=complete,
            )


def _samples_of(bench: Bench, known: Mapping[Key, Row]) -> Samples:
    samples = Samples()
    for key in bench.wanted().keys() & known.keys():
        samples.warm_ms[key] += known[key].samples_ms
        samples.cold_ms[key] += known[key].cold_samples_ms
    return samples


def _powers_w(bench: Bench, sensor: Sensor | None, now: Callable[[], float]) -> dict[Key, float]:
    """Power above that of the idle board while each block runs: the mean of the routes that it is in.

    A route's power is shared by its blocks as its time is, because no sensor is as quick as a block. Without those for
    which no sensor told a difference.
    """
    idle_w = None if sensor is None else idle_power_w(sensor)
    if sensor is None or idle_w is None:
        return {}
    found: dict[Key, list[float]] = {}
    heads = bench.heads
    for route in covering_routes(bench, np.random.default_rng(0)):
        running_w = running_power_w(sensor, partial(run_route, bench.frame, route, heads, now), now)
        if running_w is not None and running_w > idle_w:
            for key in (*(candidate.key for candidate in route), *(head.key for head in heads)):
                found.setdefault(key, []).append(running_w - idle_w)
        heads = ()
    return {key: sum(powers_w) / len(powers_w) for key, powers_w in found.items()}


def _rounded(value: float) -> float:
    return round(value, RESOLUTION_DIGITS)
