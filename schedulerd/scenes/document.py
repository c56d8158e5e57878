"""A played scene as JSON, and in a few lines for a person. Pure."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

from schedulerd.scenes.figures import Figures
from schedulerd.scenes.record import AppRecord, Deed, PlanSeen, Reading, Story, summary

_COLUMNS = ("at_s", "served_ms", "latency_ms", "budget_ms", "met", "accuracy", "plan", "route", "exit")


def document(story: Story, counted: Figures) -> dict[str, Any]:
    """Everything; times are seconds from the beginning of the first phase, `requests` are rows of `request_columns`."""
    begin_s = story.turns[0].at_s
    told = summary(story.records, story.turns, story.end_s)
    for phase, figures in zip(told["phases"], counted.phases, strict=True):
        phase["in_budget"] = figures.feasible.share
        phase["in_budget_of_all"] = figures.all.share
        phase["accuracy_given_up"] = figures.accuracy_given_up
    return {
        "title": story.title,
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
        "ready_s": story.ready_s,
        "daemon": dict(story.status),
        "figures": _figures(counted),
        **{key: value for key, value in told.items() if key != "requests"},
        "sent": told["requests"],
        "out_of_memory": story.out_of_memory,
        "start_use_bytes": story.start_use_bytes,
        "deeds": [_deed(deed, begin_s) for deed in story.deeds],
        "plans": [_plan(plan, begin_s) for plan in story.plans],
        "readings": [_reading(reading, begin_s) for reading in story.readings],
        "request_columns": list(_COLUMNS),
        "requests": {record.app: list(_requests(record, begin_s)) for record in story.records},
    }


def lines(counted: Figures) -> Iterator[str]:
    """What it comes to."""
    yield f"{'phase':<20} {'frames':>7} {'in budget':>10} {'of all':>8} {'given up':>9}"
    for phase in counted.phases:
        shares = f"{_percent(phase.feasible.share):>10} {_percent(phase.all.share):>8}"
        yield f"{phase.name:<20} {phase.all.frames:>7} {shares} {_points(phase.accuracy_given_up):>9}"
    answered = [r for r in counted.reactions if r.ms is not None]
    if answered:
        led = f"{len(answered)} of {len(counted.reactions)} disturbances led to a plan"
        yield f"{led}, p95 {counted.react_p95_ms:.0f} ms"
    if counted.swaps_per_min is not None:
        yield f"{counted.steady_swaps} plans changed routes in {counted.steady_s:.0f} steady seconds"
    yield f"{counted.lost} requests lost"


def _figures(counted: Figures) -> dict[str, Any]:
    return {
        "in_budget": counted.in_budget,
        "react_p95_ms": counted.react_p95_ms,
        "swaps_per_min": counted.swaps_per_min,
        "accuracy_gap": counted.accuracy_gap,
        "reactions": [{"what": r.told, "trend": r.trend, "ms": r.ms} for r in counted.reactions],
    }


def _deed(deed: Deed, begin_s: float) -> dict[str, Any]:
    return {"at_s": deed.at_s - begin_s, "what": deed.told, "counts_from_s": deed.counts_from_s - begin_s}


def _plan(plan: PlanSeen, begin_s: float) -> dict[str, Any]:
    return {
        "at_s": plan.at_s - begin_s,
        "number": plan.number,
        "cause": plan.cause,
        "sentence": plan.sentence,
        "swapped": plan.swapped,
        "solve_ms": plan.solve_ms,
        "apply_ms": plan.apply_ms,
        "memory_bytes": plan.memory_bytes,
        "memory_limit_bytes": plan.memory_limit_bytes,
        "apps": {
            app: {"accuracy": seen.accuracy, "miss_ms": seen.miss_ms, "route": list(seen.route)}
            for app, seen in plan.apps.items()
        },
    }


def _reading(reading: Reading, begin_s: float) -> dict[str, Any]:
    played = dict(reading.played)
    return {"at_s": reading.at_s - begin_s, "cpu_s": reading.cpu_s, "played": played, "status": dict(reading.status)}


def _requests(record: AppRecord, begin_s: float) -> Iterator[list[Any]]:
    for s in record.samples:
        served_ms, latency_ms = round(s.served_ms, 3), round(s.latency_ms, 3)
        row = [round(s.at_s - begin_s, 4), served_ms, latency_ms, s.budget_ms, s.met, round(s.accuracy, 4)]
        yield [*row, s.plan, "|".join(s.route), s.exit]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _points(gap: float | None) -> str:
    return "-" if gap is None else f"{100 * gap:.2f} pt"
