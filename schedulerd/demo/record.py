"""What happened in the demo, as frozen values, and what it adds up to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from blockstore.exits import FINAL
from schedulerd.serving.meter import percentile


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply as its client saw it. Times are monotonic seconds, the same clock in every process of one machine."""

    at_s: float
    latency_ms: float
    served_ms: float
    """From arrival in the daemon to the reply being ready: what the budget speaks of."""
    budget_ms: float
    met: bool
    right: bool
    """Whether the answer was the frame's label."""
    accuracy: float
    plan: int
    route: tuple[str, ...]
    exit: str = FINAL
    """At which the frame left."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The start of a phase: what was done to the board, and what schedulerd said it did about it."""

    name: str
    at_s: float
    what: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AppRecord:
    """Everything seen of one app."""

    app: str
    model: str
    samples: tuple[Sample, ...]
    sent: int
    answered: int
    errors: tuple[str, ...]
    ended: bool
    """Whether its client said how it ended; one that did not may have lost requests."""

    @property
    def lost(self) -> int:
        """Requests that got no result."""
        return self.sent - self.answered


def swaps(samples: Sequence[Sample]) -> int:
    """How often the route changed from one reply to the next."""
    return sum(a.route != b.route for a, b in pairwise(samples))


def exit_rates(samples: Sequence[Sample]) -> dict[str, float]:
    """Share of the replies from each exit, the network's end last; nothing where all are from there."""
    names = sorted({s.exit for s in samples} - {FINAL})
    return {name: sum(s.exit == name for s in samples) / len(samples) for name in (*names, FINAL)} if names else {}


def phase_summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """One app in one phase. Empty of replies, every figure is None."""
    served = [s.served_ms for s in samples]
    seen = [s.latency_ms for s in samples]
    count = len(samples)
    return {
        "requests": count,
        "budget_ms": samples[-1].budget_ms if samples else None,
        "served_p50_ms": percentile(served, 0.5),
        "served_p95_ms": percentile(served, 0.95),
        "round_trip_p50_ms": percentile(seen, 0.5),
        "round_trip_p95_ms": percentile(seen, 0.95),
        "misses": sum(not s.met for s in samples),
        "accuracy": sum(s.right for s in samples) / count if count else None,
        "accuracy_predicted": sum(s.accuracy for s in samples) / count if count else None,
        "swaps": swaps(samples),
        "exit_rates": exit_rates(samples),
        "route": list(samples[-1].route) if samples else [],
    }


def within(samples: Sequence[Sample], begin_s: float, end_s: float) -> tuple[Sample, ...]:
    """The samples asked in `[begin_s, end_s)`."""
    return tuple(s for s in samples if begin_s <= s.at_s < end_s)


def summary(records: Sequence[AppRecord], turns: Sequence[Turn], end_s: float) -> dict[str, Any]:
    """The whole demo: per phase and app, and in all."""
    ends = [turn.at_s for turn in turns[1:]] + [end_s]
    return {
        "phases": [
            {
                "name": turn.name,
                "what": turn.what,
                "did": list(turn.answers),
                "seconds": until - turn.at_s,
                "apps": {r.app: phase_summary(within(r.samples, turn.at_s, until)) for r in records},
            }
            for turn, until in zip(turns, ends, strict=True)
        ],
        "apps": {r.app: {"model": r.model, "sent": r.sent, "answered": r.answered, "lost": r.lost} for r in records},
        "requests": sum(r.sent for r in records),
        "lost": sum(r.lost for r in records),
        "swaps": sum(swaps(r.samples) for r in records),
        "errors": [f"{r.app}: {e}" for r in records for e in r.errors],
    }
