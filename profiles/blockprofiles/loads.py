"""Measure what company does to a lane: the curves of `contention`, on a route of one of the board's own models.

All loads take turns, and each is compared with the undisturbed lane of the same turn, so that a drift of the clock or
of the host cancels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from blockprofiles.bench import Engine, random_frame
from blockprofiles.conditions import on_cores
from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.effort import Effort
from blockprofiles.errors import CannotRun
from blockprofiles.hogs import Hog, hogs
from blockstore.assembly import Chain
from blockstore.block import Model

TURNS: Final = 6
WINDOW_S: Final = 0.12
"""Of one load in one turn."""
QUICK_TURNS: Final = 4
QUICK_WINDOW_S: Final = 0.06
LEAST_RUNS: Final = 3
"""In each window, however slow the route is."""
_MARGIN_S: Final = 0.01
"""For the hogs to burn longer than a lane needs to start."""
Times = list[float]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Load:
    """How many lanes run, beside how many hogs."""

    lanes: int = 1
    hogs: int = 0


@dataclass(slots=True)
class _Found:
    """What was measured under one load: times in seconds by turn, and the share of all cores that the hogs got."""

    turns: list[Times] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


_ALONE: Final = _Load()


def measure_contention(
    models: Sequence[Model],
    engine: Engine,
    path_of: Callable[[str], Path],
    *,
    cores: Collection[int],
    effort: Effort,
    now: Callable[[], float],
) -> Contention:
    """Curves of lanes and of programs of others on `cores`; without a curve where it could not be measured.

    It takes a second with a designed effort, else three, and longer where a route takes more than 20 ms. The route is
    the original one of a model of middle size that runs. As load of other programs stands what a look at the board
    would show beside a busy lane: the share of all cores that they had, not what they wanted.
    """
    with on_cores(cores):
        run = _original_route(models, engine, path_of)
        if run is None:
            return Contention()
        turns, window_s = (QUICK_TURNS, QUICK_WINDOW_S) if effort.designed else (TURNS, WINDOW_S)
        bench = _Turns(run, cores, now, window_s)
        lanes = [_Load(lanes=n) for n in _lane_counts(len(cores) // engine.threads)]
        try:
            with hogs(len(cores)) as started:
                others = [_Load(hogs=n) for n in sorted({(len(cores) + 1) // 2, len(cores)})]
                found = bench.measure([_ALONE, *lanes, *others], turns, started)
        except (OSError, ValueError):  # no process, or one that does not answer: a sandbox, or no memory
            others = []
            found = bench.measure([_ALONE, *lanes], turns, ())
    alone = found[_ALONE]
    return Contention(
        lanes=(Point(1, Slowdown()), *(Point(load.lanes, _slowdown(found[load], alone)) for load in lanes)),
        others=_others(found, others),
        complete=not effort.designed,
    )


@dataclass(frozen=True, slots=True)
class _Turns:
    """Runs a route under loads."""

    run: Callable[[], object]
    cores: Collection[int]
    now: Callable[[], float]
    window_s: float

    def measure(self, loads: Sequence[_Load], turns: int, started: Sequence[Hog]) -> Mapping[_Load, _Found]:
        """All `loads` in each of `turns`, after one run that fills the caches."""
        self.run()
        found: dict[_Load, _Found] = {load: _Found() for load in loads}
        for _ in range(turns):
            for load in found:
                times_s, share = self._window(load, started[: load.hogs])
                found[load].turns.append(times_s)
                found[load].shares.append(share)
        return found

    def _window(self, load: _Load, burning: Sequence[Hog]) -> tuple[Times, float]:
        burn_s = self.window_s + _MARGIN_S
        for hog in burning:
            hog.burn(burn_s)
        times_s = self._lanes(load.lanes)
        used_s = sum(hog.used_s() for hog in burning)
        return times_s, min(1.0, used_s / burn_s / len(self.cores))

    def _lanes(self, count: int) -> Times:
        """Times of a route on each of `count` threads that begin together."""
        times_s: list[Times] = [[] for _ in range(count)]
        begin = threading.Barrier(count)
        lanes = [threading.Thread(target=self._lane, args=(own, begin), daemon=True) for own in times_s]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        return [time_s for own in times_s for time_s in own]

    def _lane(self, times_s: Times, begin: threading.Barrier) -> None:
        begin.wait()
        end_s = self.now() + self.window_s
        while len(times_s) < LEAST_RUNS or self.now() < end_s:
            began_s = self.now()
            self.run()
            times_s.append(self.now() - began_s)


def _others(found: Mapping[_Load, _Found], loads: Sequence[_Load]) -> tuple[Point, ...]:
    """The curve from an undisturbed lane on; nothing where no load was measured."""
    points = [Point(float(np.mean(found[load].shares)), _slowdown(found[load], found[_ALONE])) for load in loads]
    return tuple(sorted((Point(0.0, Slowdown()), *points), key=lambda p: p.load)) if points else ()


def _slowdown(found: _Found, alone: _Found) -> Slowdown:
    """The middle one of the turns' ratios of medians; the ratio of the 95th percentiles of all turns together.

    Not below 1: company does not help, the clock or the host changed between two windows.
    """
    ratios = [float(np.median(busy) / np.median(quiet)) for busy, quiet in zip(found.turns, alone.turns, strict=True)]
    slow, usual = (float(np.percentile(np.concatenate(f.turns), 95)) for f in (found, alone))
    return Slowdown(median=max(1.0, float(np.median(ratios))), p95=max(1.0, slow / usual))


def _lane_counts(most: int) -> Sequence[int]:
    """2, 4, 8 and so on, and the most there can be."""
    doubled = [2**n for n in range(1, most.bit_length()) if 2**n < most]
    return [*doubled, most] if most > 1 else []


def _original_route(
    models: Sequence[Model], engine: Engine, path_of: Callable[[str], Path]
) -> Callable[[], object] | None:
    """Something that runs the original route of a model, the one of middle size first; None where none runs."""
    by_size = sorted(models, key=lambda m: sum(block.variants[0].multiply_adds for block in m.blocks))
    middle = len(by_size) // 2
    for model in (*by_size[middle:], *by_size[:middle]):
        try:
            return _loaded(model, engine, path_of)
        except Exception as error:  # an engine's errors are its own
            log.info("no_route_to_load", model=model.name, reason=str(error))
    return None


def _loaded(model: Model, engine: Engine, path_of: Callable[[str], Path]) -> Callable[[], object]:
    """Raises what the engine raises, or `CannotRun`."""
    artifacts = [block.variants[0].artifact(engine.name) for block in model.blocks]
    if None in artifacts:
        raise CannotRun(f"model {model.name} has blocks whose original is not for {engine.name}")
    chain = Chain(tuple(engine.load(path_of(artifact.digest)) for artifact in artifacts if artifact is not None))
    frame = engine.feed(random_frame(model.input))
    chain.run(frame)
    return partial(chain.run, frame)
