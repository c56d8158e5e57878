"""What happened in a scene, as frozen values, and what each app's replies add up to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from blockstore.exits import FINAL
from schedulerd.scenes.cast import Role
from schedulerd.scenes.script import Action
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
    right: bool | None
    """Whether the answer was the frame's label; None for a frame without one."""
    accuracy: float
    plan: int
    route: tuple[str, ...]
    exit: str = FINAL
    """At which the frame left."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A frame without a result."""

    at_s: float
    message: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The start of a phase: what was done to the board, and what schedulerd said it did about it."""

    name: str
    at_s: float
    what: str
    answers: tuple[str, ...] = ()
    steady: bool = False


@dataclass(frozen=True, slots=True)
class AppRecord:
    """Everything seen of one app."""

    app: str
    model: str
    samples: tuple[Sample, ...]
    sent: int
    answered: int
    errors: tuple[Lost, ...]
    ended: bool
    """Whether its client said how it ended; one that did not may have lost requests."""

    @property
    def lost(self) -> int:
        """Requests that got no result."""
        return self.sent - self.answered


@dataclass(frozen=True, slots=True)
class Deed:
    """An action that was carried out."""

    at_s: float
    action: Action
    told: str
    """In words."""
    counts_from_s: float
    """When a plan had to follow; beyond `at_s` for a ramp."""
    worse: bool
    """Whether it is an edit or takes something away: only then a plan has to follow soon."""


@dataclass(frozen=True, slots=True)
class AppSeen:
    """An app's part of a plan that was put in place."""

    accuracy: float
    miss_ms: float
    """By how much it was predicted to miss its budget: more than 0 says that no plan was found that meets it."""
    route: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """An event `plan`."""

    at_s: float
    """When it was heard of, in monotonic seconds."""
    number: int
    cause: str
    sentence: str
    swapped: int
    """Apps whose routes changed that had one before."""
    solve_ms: float
    apply_ms: float
    memory_bytes: float
    memory_limit_bytes: float
    apps: Mapping[str, AppSeen]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the daemon and its board were at a moment: numbers of `status`, and what was played."""

    at_s: float
    status: Mapping[str, float | None]
    played: Mapping[str, float]
    cpu_s: float
    """Processor seconds of the daemon so far."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best plan known afterwards for a stretch of time, by the weighted mean of its apps' predicted accuracy."""

    begin_s: float
    end_s: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Story:
    """What a played scene leaves behind."""

    title: str
    records: tuple[AppRecord, ...]
    roles: tuple[Role, ...]
    turns: tuple[Turn, ...]
    deeds: tuple[Deed, ...]
    plans: tuple[PlanSeen, ...]
    readings: tuple[Reading, ...]
    best: tuple[Best, ...]
    end_s: float
    ready_s: float
    """From the start of the daemon to its first answer."""
    status: Mapping[str, Any]
    """The daemon's at the end."""
    start_use_bytes: float | None
    """What the apps' blocks took when memory was first played."""
    out_of_memory: int
    """How often the daemon held more than it was left by a played limit."""

    @property
    def priorities(self) -> Mapping[str, int]:
        """Of every app."""
        return {role.app: role.priority for role in self.roles}


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
    labelled = [s.right for s in samples if s.right is not None]
    count = len(samples)
    return {
        "requests": count,
        "budget_ms": samples[-1].budget_ms if samples else None,
        "served_p50_ms": percentile(served, 0.5),
        "served_p95_ms": percentile(served, 0.95),
        "round_trip_p50_ms": percentile(seen, 0.5),
        "round_trip_p95_ms": percentile(seen, 0.95),
        "misses": sum(not s.met for s in samples),
        "accuracy": sum(labelled) / len(labelled) if labelled else None,
        "accuracy_predicted": sum(s.accuracy for s in samples) / count if count else None,
        "swaps": swaps(samples),
        "exit_rates": exit_rates(samples),
        "route": list(samples[-1].route) if samples else [],
    }


def within(samples: Sequence[Sample], begin_s: float, end_s: float) -> tuple[Sample, ...]:
    """The samples asked in `[begin_s, end_s)`."""
    return tuple(s for s in samples if begin_s <= s.at_s < end_s)


def summary(records: Sequence[AppRecord], turns: Sequence[Turn], end_s: float) -> dict[str, Any]:
    """The whole scene: per phase and app, and in all."""
    return {
        "phases": [
            {
                "name": turn.name,
                "what": turn.what,
                "did": list(turn.answers),
                "seconds": until_s - turn.at_s,
                "apps": {r.app: phase_summary(within(r.samples, turn.at_s, until_s)) for r in records},
            }
            for turn, until_s in spans(turns, end_s)
        ],
        "apps": {r.app: {"model": r.model, "sent": r.sent, "answered": r.answered, "lost": r.lost} for r in records},
        "requests": sum(r.sent for r in records),
        "lost": sum(r.lost for r in records),
        "swaps": sum(swaps(r.samples) for r in records),
        "errors": [f"{r.app}: {e.message}" for r in records for e in r.errors],
    }


def spans(turns: Sequence[Turn], end_s: float) -> list[tuple[Turn, float]]:
    """Every phase with its end."""
    return list(zip(turns, [turn.at_s for turn in turns[1:]] + [end_s], strict=True))
