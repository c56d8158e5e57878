"""What was really seen of one app's requests: a bounded window of frozen observations and a few counters."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from blockstore.exits import FINAL
from schedulerd.serving.buckets import LATENCY_MS, Buckets
from schedulerd.serving.route import Expected

WINDOW = 512
"""Observations kept per app: half a minute at 15 Hz, and enough for a 95th percentile."""


class Observation(NamedTuple):
    """One answered request. A tuple, because one is made of every frame, and making a frozen dataclass takes longer."""

    at_s: float
    latency_ms: float
    """From arrival to the reply being ready."""
    run_ms: float
    """Time inside blocks and exits, and in preparing the frame."""
    deadline_met: bool
    blocks_ms: tuple[float, ...] = ()
    """Time inside each block that ran."""
    expected: Expected = ()
    """Of the route. Not the route itself: that would keep its blocks in memory for as long as it is remembered."""
    plan: int = 0
    """Under which it ran."""
    exit: str = FINAL
    """At which it left."""
    left: str = "end"
    """Why there: one of `wire.messages.LEFT`."""
    evaluated: tuple[tuple[str, bool], ...] = ()
    """The steps of the policy that it came to, but for the last one, at which every frame leaves: `(exit, confident)`.
    Empty where the request asked for given exits and no policy was followed."""


class Meter:
    """Written by the lanes, read by the control thread.

    `deque.append` and `deque.copy` are atomic under the interpreter lock, which is all the synchronisation needed:
    a reader sees a whole window, perhaps without the newest observation.
    """

    def __init__(self) -> None:
        self._window: deque[Observation] = deque(maxlen=WINDOW)
        self.answered = 0
        self.missed = 0
        self.refused: Counter[str] = Counter()
        """Refusals by wire code."""
        self._refusing = threading.Lock()
        """Lanes and the thread that takes requests in refuse at the same time, and adding one is not atomic."""
        self.shared_blocks = 0
        """Blocks that did not have to run, as those of another app had run on the same frame."""
        self.latencies_ms = Buckets(LATENCY_MS)
        self.run_ms = 0.0
        """Time inside blocks of all answers together; each of several frames in one batch took all of it."""
        self.exits: Counter[str] = Counter()
        """Answers by the exit at which the frame left, without those whose request asked for given exits."""

    def add(self, observation: Observation) -> None:
        """Count one answered request."""
        self._window.append(observation)
        self.answered += 1
        self.missed += not observation.deadline_met
        self.latencies_ms.add(observation.latency_ms)
        self.run_ms += observation.run_ms
        self.exits[observation.exit] += observation.left != "asked"

    def refuse(self, code: str) -> None:
        """Count one refusal."""
        with self._refusing:
            self.refused[code] += 1

    def since(self, at_s: float) -> tuple[Observation, ...]:
        """Observations newer than `at_s`, oldest first."""
        return tuple(o for o in self._window.copy() if o.at_s > at_s)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Nearest-rank percentile (`share` in 0 to 1), None of nothing.

    The nearest rank is a value that was really measured; interpolation would invent one.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
