"""What an app's frames really do at its exits: live leave rates, whether they have drifted, and their history. Pure.

Of a leave rate p that is expected, n frames show one within about sqrt(p (1 - p) / n) of it. A rate has drifted where
it is off by more than `SIGMAS` of that, and by more than `LEAST_DRIFT`: what is smaller changes no plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schedulerd.serving.meter import Observation

LEAST_FRAMES = 40
"""That have come to an exit, before its rate says anything."""
LEAST_DRIFT = 0.1
SIGMAS = 3.0
FORGET_S = 60.0
"""What was seen at an exit that is evaluated no more is believed for so long: the scene may have changed since."""
BIN_S = 5.0
BINS = 12
"""Of an app's history: one minute."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Frames at one exit of a policy."""

    came: int
    left: int
    """That were confident."""

    @property
    def rate(self) -> float:
        """Share of those that came which left."""
        return self.left / self.came


def seen_at_exits(observations: Iterable[Observation], plan: int) -> dict[str, Seen]:
    """What was evaluated at each exit of the route that the plan of that number put in place."""
    came, left = Counter[str](), Counter[str]()
    for observation in observations:
        if observation.plan == plan:
            for exit_, confident in observation.evaluated:
                came[exit_] += 1
                left[exit_] += confident
    return {exit_: Seen(count, left[exit_]) for exit_, count in came.items()}


def drifted(expected: Mapping[str, float], seen: Mapping[str, Seen]) -> list[str]:
    """The exits whose leave rate is not what was expected of it."""
    return [exit_ for exit_, rate in expected.items() if exit_ in seen and _is_off(rate, seen[exit_])]


def _is_off(expected: float, seen: Seen) -> bool:
    if seen.came < LEAST_FRAMES:
        return False
    # A rate of 0 or 1 would allow no deviation at all.
    likely = min(max(expected, 1.0 / seen.came), 1.0 - 1.0 / seen.came)
    deviation = math.sqrt(likely * (1.0 - likely) / seen.came)
    return abs(seen.rate - expected) > max(LEAST_DRIFT, SIGMAS * deviation)


def shares_of(counts: Mapping[str, int]) -> dict[str, float]:
    """Counts as shares of their sum, without what did not happen."""
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class Bin:
    """An app's frames in one stretch of time."""

    until_s: float
    counts: Mapping[str, int]
    """By the exit at which they left."""

    def as_map(self, now_s: float) -> dict[str, object]:
        """As it travels in the answer to `apps`."""
        return {
            "ago_s": round(now_s - self.until_s, 1),
            "frames": sum(self.counts.values()),
            "shares": shares_of(self.counts),
        }


@dataclass(frozen=True, slots=True)
class History:
    """The last minute of an app's frames, bin by bin, the oldest first."""

    bins: tuple[Bin, ...] = ()
    counted: Mapping[str, int] | None = None
    """The app's counters at the end of the last bin; None before the first."""
    begun_s: float = 0.0
    """When the present bin began."""

    def after(self, counts: Mapping[str, int], now_s: float) -> History:
        """The history with a further bin, if the present one is over; itself otherwise."""
        counts = dict(counts)  # in one piece: lanes go on counting
        if self.counted is None:
            return History((), counts, now_s)
        if now_s - self.begun_s < BIN_S:
            return self
        more = {name: count - self.counted.get(name, 0) for name, count in counts.items()}
        kept = (*self.bins, Bin(now_s, {name: count for name, count in more.items() if count}))
        return History(kept[-BINS:], counts, now_s)
