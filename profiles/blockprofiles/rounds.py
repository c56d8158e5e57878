"""Time variants inside whole routes, warm and cold.

A block timed alone finds its own weights in the cache, in a route it finds another block's. With 5 MB of
weights a block, the sums of isolated medians missed the time of a route by 5 to 6%, those of this method by 0.3%.

A round is a few whole routes that together contain every variant, and the clock is read at every block boundary,
as a lane does. Each round combines the variants anew, so that every variant is seen beside many others, and a
disturbance of the machine hits all alike. The first route of a round also runs the exits, each after its block and on
the tensors that it takes there; the others do not, so that the blocks are mostly timed as they run without.

Each route is run `PASSES` times in a row. In the first one it finds the caches full of another route, as apps do that
take turns: that is the cold time. It takes some passes until the caches hold what a route that runs over and over finds
there. Predicting 40 such routes from the medians of one pass, on one thread, erred by (median of ResNet-20, ResNet-56)
29% and 29% with the first, 2.4% and 11% with the second, 0.5% and 3.5% with the third, 0.4% and 0.7% with the fourth,
0.3% and 0.7% with the fifth: the last two are the warm times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from blockprofiles.bench import Bench, Candidate, HeadCandidate, Key
from blockprofiles.conditions import Others
from blockprofiles.effort import Effort

PASSES: Final = 5
WARM_FROM: Final = 3
"""Passes from this one on, counted from 0, are warm."""
WARM_PASSES: Final = PASSES - WARM_FROM
LOOK_EVERY_S: Final = 0.25
"""So long are the rounds that are kept or rejected together: the kernel counts in ticks of 1 to 10 ms."""
BUSY: Final = 0.1
"""Share of the cores that other programs may have before rounds are rejected."""
ABSURD_S: Final = 60.0
"""A block that seems to take longer was not timed: the clock jumped."""

Times = defaultdict[Key, list[float]]
"""Times in ms, in the order they were taken."""


@dataclass(slots=True)
class Samples:
    """What was timed."""

    warm_ms: Times = field(default_factory=lambda: defaultdict(list))
    cold_ms: Times = field(default_factory=lambda: defaultdict(list))
    others: list[float] = field(default_factory=list)
    """What other programs took, once for each time that was looked."""

    def add(self, other: Samples) -> None:
        """What `other` holds goes behind what is here."""
        for mine, theirs in ((self.warm_ms, other.warm_ms), (self.cold_ms, other.cold_ms)):
            for key, times_ms in theirs.items():
                mine[key] += times_ms
        self.others += other.others

    def rounds(self, keys: Collection[Key]) -> int:
        """Full rounds: each has one cold time of everything, and more of what stands in several of its routes."""
        return min((len(self.cold_ms[key]) for key in keys), default=0)


@dataclass(slots=True)
class Rounds:
    """The timing of one bench. `samples` may hold what was timed before; `enough` says when to stop."""

    bench: Bench
    effort: Effort
    now: Callable[[], float]
    others: Others
    samples: Samples
    end_s: float | None = None
    """By `now`; None where only steadiness ends it."""
    done: bool = False
    """Whether all medians are as steady as was asked for, or will not get so."""
    _generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _pending: Samples = field(default_factory=Samples)
    _pending_rounds: int = 0
    _rejected: int = 0
    _tried: int = 0
    _looked_s: float = 0.0

    def run(self) -> Iterator[None]:
        """Run rounds until there is enough; hands over after each one."""
        self._round(Samples())
        self._restart()
        yield
        while not self._enough():
            self._round(self._pending)
            self._pending_rounds += 1
            self._tried += 1
            if self.now() - self._looked_s >= LOOK_EVERY_S or self._last():
                self._judge()
            yield

    def share(self) -> float:
        """How much is done, 0 to 1, as far as rounds tell."""
        return 1.0 if self.done else min(1.0, self._rounds() / self.effort.max_rounds)

    def _rounds(self) -> int:
        return self.samples.rounds(self._keys())

    def _keys(self) -> Collection[Key]:
        return self.bench.wanted().keys()

    def _enough(self) -> bool:
        if self._pending_rounds:
            return False
        rounds, effort = self._rounds(), self.effort
        warm_ms = {key: self.samples.warm_ms[key] for key in self._keys()}
        self.done = rounds >= effort.max_rounds or steady(warm_ms, effort)
        return self.done or (self._late() and rounds >= self._least()) or self._tried >= 2 * effort.max_rounds

    def _late(self) -> bool:
        return self.end_s is not None and self.now() >= self.end_s

    def _least(self) -> int:
        """So many rounds are measured although it is late."""
        overrun_s = self.effort.overrun_s
        too_late = overrun_s is not None and self.end_s is not None and self.now() >= self.end_s + overrun_s
        return 1 if too_late else self.effort.min_rounds

    def _last(self) -> bool:
        """Whether the rounds that are not judged yet may be all that is wanted."""
        rounds = self._rounds() + self._pending_rounds
        return rounds >= (self._least() if self._late() else self.effort.max_rounds)

    def _judge(self) -> None:
        """Keep the rounds since the last time, or throw them away where the machine was busy.

        At most half of all rounds, and a few at the beginning: a machine that never gets quiet is measured as it is.
        """
        share = self.others.look()
        busy = share is not None and share > BUSY and not self._late()
        if busy and self._rejected < self._rounds() + self.effort.min_rounds:
            self._rejected += self._pending_rounds
        else:
            self._pending.others += [] if share is None else [share]
            self.samples.add(self._pending)
        self._restart()

    def _restart(self) -> None:
        self._pending, self._pending_rounds = Samples(), 0
        self._looked_s = self.now()
        self.others.restart()

    def _round(self, samples: Samples) -> None:
        heads = self.bench.heads
        for route in covering_routes(self.bench, self._generator):
            for number in range(PASSES):
                times_s = run_route(self.bench.frame, route, heads, self.now)
                # All of a pass or nothing: where the clock jumped, what came next to it is in doubt too.
                if all(0 < time_s < ABSURD_S for _, time_s in times_s) and (number == 0 or number >= WARM_FROM):
                    kept = samples.cold_ms if number == 0 else samples.warm_ms
                    for key, time_s in times_s:
                        kept[key].append(time_s * 1e3)
            heads = ()


def covering_routes(bench: Bench, generator: np.random.Generator) -> Iterator[tuple[Candidate, ...]]:
    """As few routes as hold every variant of every block, combined at random; a short block repeats its own."""
    count = max(map(len, bench.blocks))
    orders = [generator.permutation(count) % len(candidates) for candidates in bench.blocks]
    for picks in zip(*orders, strict=True):
        yield tuple(candidates[pick] for candidates, pick in zip(bench.blocks, picks, strict=True))


def steady(warm_ms: Mapping[Key, Sequence[float]], effort: Effort) -> bool:
    """Whether every median is known well enough to stop."""
    return all(
        len(times) >= WARM_PASSES * effort.steady_rounds and median_uncertainty(times) <= effort.uncertainty
        for times in warm_ms.values()
    )


def median_uncertainty(warm_ms: Sequence[float]) -> float:
    """Half-width of the 95% interval of the median, relative to it.

    1.57 IQR / sqrt(n): McGill, Tukey and Larsen, "Variations of box plots", The American Statistician 32 (1978). The
    warm passes of one route follow each other and differ little, so they count as one.
    """
    lower, median, upper = np.percentile(warm_ms, (25, 50, 75))
    return float(1.57 * (upper - lower) / np.sqrt(max(1.0, len(warm_ms) / WARM_PASSES)) / median)


def run_route(
    frame: Any, route: Sequence[Candidate], heads: Sequence[HeadCandidate], now: Callable[[], float]
) -> list[tuple[Key, float]]:
    """Run blocks, and heads after theirs, on a frame. Returns key and time in s of what ran, in order."""
    times_s = []
    taken = {block for head in heads for block in head.inputs}
    outputs: dict[int, Any] = {}
    after = {head.inputs[-1]: head for head in heads}
    tensor, last_s = frame, now()
    for block, candidate in enumerate(route):
        tensor, before_s, last_s = candidate.block.run(tensor), last_s, now()
        times_s.append((candidate.key, last_s - before_s))
        if block in taken:
            outputs[block] = tensor
        if block in after:
            head = after[block]
            head.head.run([outputs[i] for i in head.inputs])
            before_s, last_s = last_s, now()
            times_s.append((head.key, last_s - before_s))
    return times_s
