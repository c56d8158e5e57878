"""How single blocks of an app differ from the board, persistently: their rows are wrong, or their company is special.

A ratio is measured over profiled time. For each route that an app runs, the median over the last seconds of (the
request's ratio / the board's at that time), and for each block of it the median of (the block's ratio / its request's).
Small differences are taken for none.

A factor that was learned is kept for a while after its blob has made way for another one. If it were forgotten at once,
the blob would look as good as its row says again, come back, and so on.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schedulerd.control.factors import Place
from schedulerd.serving.meter import Observation
from schedulerd.serving.route import Expected, ExpectedBlock

WINDOW_S: Final = 15.0
"""Ratios so old still count."""
NEWEST: Final = 256
"""Ratios that are kept of a block, at most: the window at 17 Hz."""
LEAST_RATIOS: Final = 10
LEAST_SPAN_S: Final = 4.0
"""Fewer ratios, or all from a shorter time, say nothing: they may be of a program that started."""
MOST_UNCERTAIN: Final = 0.1
"""Half-width of a factor's 95% interval, relative to it. Beside a hog single blocks wait for a core now this one, now
that one, and a few such requests make any block look slow and the others quick."""
LOOK_EVERY_S: Final = 1.0
FORGET_S: Final = 300.0
"""After this time a blob that was slow, and has not run since, is taken at its row again."""
DEAD_BAND: Final = 0.1
"""Relative difference from the board that is taken for none."""
SMALL: Final = 0.075
"""The same of the blocks that are not told apart, which share one difference: it is known better than that of one."""
STEP: Final = 0.15
"""Relative change of a factor that is worth a new plan."""
LEAST, MOST = 0.5, 4.0


class _Ratios(NamedTuple):
    """Of one request."""

    at_s: float
    route: float
    """Measured over profiled time of what it ran, relative to the board's ratio at that time."""
    blocks: tuple[float, ...]
    """The same of each block that it ran, relative to that of the whole request."""


@dataclass(slots=True)
class _Seen:
    """What was seen of one route of an app."""

    expected: Expected
    ratios: deque[_Ratios] = field(default_factory=lambda: deque(maxlen=NEWEST))
    certain: dict[int, float] = field(default_factory=dict)
    """Factors by position in `expected`, of blocks whose ratios told them clearly."""
    factors: dict[int, float] = field(default_factory=dict)
    """The same of all blocks: the others make up what is missing of the whole."""
    seen_at_s: float = 0.0
    """When the newest ratio was that is in the factors."""


class BlockFactors:
    """What was seen of the blocks of all apps. The control thread is the only caller."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Expected], _Seen] = {}
        self._running: dict[str, _Seen] = {}
        """By app, that of the newest request."""
        self._looked_at_s = 0.0

    def add(self, app_id: str, observation: Observation, board: float, *, alone: bool) -> None:
        """Take in one request, which ran while typical requests took `board` times their profile.

        Args: app_id; observation: with expectations; board; alone: whether it followed a request of its own route.
        """
        usual_ms = [b.usual_ms(alone=alone) for b in observation.expected[: len(observation.blocks_ms)]]
        route = sum(observation.blocks_ms) / sum(usual_ms)
        if route > 0:
            blocks = tuple(ms / usual / route for ms, usual in zip(observation.blocks_ms, usual_ms, strict=True))
            self._of(app_id, observation.expected).ratios.append(_Ratios(observation.at_s, route / board, blocks))

    def look(self, now_s: float) -> None:
        """Work out the factors anew, if that was not done lately."""
        if 0.0 <= now_s - self._looked_at_s < LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        for key, seen in list(self._seen.items()):
            _look(seen, now_s)
            if not seen.ratios and (not seen.factors or now_s - seen.seen_at_s > FORGET_S):
                del self._seen[key]
                self._running = {app: running for app, running in self._running.items() if running is not seen}

    def blobs(self) -> dict[Place, float]:
        """As `Factors.blobs`; of blobs that were merged into one session each has that of the session."""
        return {
            (app_id, entry.first + number, digest): factor
            for app_id, entry, factor in self._known()
            for number, digest in enumerate(entry.digests)
        }

    def engines(self) -> dict[Place, float]:
        """As `Factors.engines`."""
        return {
            (app_id, entry.first + number, entry.engine): factor
            for app_id, entry, factor in self._known()
            for number in range(len(entry.digests))
        }

    def forget(self, app_id: str | None = None) -> None:
        """An app has left; without a name, the profile is another one."""
        self._seen = {key: seen for key, seen in self._seen.items() if app_id is not None and key[0] != app_id}
        self._running.clear()

    def _of(self, app_id: str, expected: Expected) -> _Seen:
        seen = self._running.get(app_id)
        if seen is None or seen.expected is not expected:
            seen = self._running[app_id] = self._seen.setdefault((app_id, expected), _Seen(expected))
        return seen

    def _known(self) -> Iterator[tuple[str, ExpectedBlock, float]]:
        """The factors that there are; what ran last comes last, and so counts where two have one place."""
        for (app_id, expected), seen in sorted(self._seen.items(), key=lambda item: item[1].seen_at_s):
            for position, factor in seen.factors.items():
                yield app_id, expected[position], factor


def _look(seen: _Seen, now_s: float) -> None:
    ratios = seen.ratios
    while ratios and not now_s - WINDOW_S < ratios[0].at_s <= now_s:
        ratios.popleft()
    if not ratios or ratios[-1].at_s - ratios[0].at_s < LEAST_SPAN_S:
        return
    of_blocks = [[r.blocks[n] for r in ratios if len(r.blocks) > n] for n in range(len(seen.expected))]
    medians = {n: statistics.median(found) for n, found in enumerate(of_blocks) if len(found) >= LEAST_RATIOS}
    if medians:
        # What is slow now and then is in the median of the whole, and in none of the blocks': the parts are to make up
        # the whole.
        weights = {n: seen.expected[n].median_ms for n in medians}
        whole = sum(medians[n] * weights[n] for n in medians) / sum(weights.values())
        route = statistics.median(r.route for r in ratios)
        clear = (
            n
            for n in medians
            if _uncertainty([r.route * r.blocks[n] for r in ratios if len(r.blocks) > n]) <= MOST_UNCERTAIN
        )
        seen.certain |= {n: _settled(route * medians[n] / whole) for n in clear}
        if seen.certain:
            seen.factors = _completed(seen.certain, weights, route)
        seen.seen_at_s = ratios[-1].at_s


def _completed(certain: Mapping[int, float], weights: Mapping[int, float], route: float) -> dict[int, float]:
    """`certain` factors, and for the blocks that are not clearly off the one with which the whole is what was seen.

    A lane that is stopped now and then stops in some block or other: the short ones are clearly quicker than the whole
    request is, and of the rest nothing can be told but that the time was spent there.
    """
    off = {n: factor for n, factor in certain.items() if factor != 1.0}
    rest = sum(weight for n, weight in weights.items() if n not in off)
    if not off or not rest:
        return dict(certain)
    missing = route * sum(weights.values()) - sum(factor * weights.get(n, 0.0) for n, factor in off.items())
    others = _rounded(missing / rest) if abs(missing / rest - 1.0) >= SMALL else 1.0
    # Of a block that clearly is as its row says the dead band is all that may be missing.
    close = min(1.0 + DEAD_BAND, max(1.0 - DEAD_BAND, others))
    return {n: off.get(n, close if n in certain else others) for n in {**weights, **off}}


def _uncertainty(values: Sequence[float]) -> float:
    """Half-width of the 95% interval of their median, relative to it.

    1.57 IQR / sqrt(n): McGill, Tukey and Larsen, "Variations of box plots", The American Statistician 32 (1978).
    """
    lower, median, upper = statistics.quantiles(values, n=4)
    return 1.57 * (upper - lower) / math.sqrt(len(values)) / median


def _settled(factor: float) -> float:
    """A factor in steps of 5%, 1 where it hardly differs."""
    return 1.0 if abs(factor - 1.0) < DEAD_BAND else _rounded(factor)


def _rounded(factor: float) -> float:
    return round(min(MOST, max(LEAST, factor)) * 20) / 20


def drifted(planned: Mapping[Place, float], now: Mapping[Place, float]) -> dict[Place, float]:
    """The factors that have moved away from those planned with by more than a step; a missing one is 1."""
    moved = {place: (planned.get(place, 1.0), now.get(place, 1.0)) for place in (*planned, *now)}
    return {
        place: after for place, (before, after) in moved.items() if max(after / before, before / after) > 1.0 + STEP
    }
