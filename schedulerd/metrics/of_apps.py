"""What is measured and predicted of each app that is there; with an app that leaves, its series end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from schedulerd.metrics.family import Family, Kind, Sample, Value, seconds
from schedulerd.metrics.view import AppSeen, View
from schedulerd.plan import AppPlan
from schedulerd.wire.messages import Code

ALWAYS_TOLD: Final = (
    Code.OVERLOADED,
    Code.DEADLINE_PASSED,
    Code.STORE_FAULT,
    Code.ENGINE_FAULT,
    Code.INTERNAL,
)
"""What can happen to a request that is right. Told from zero on, because a rate does not see a first increase."""


def _each(name: str, kind: Kind, help_: str, read: Callable[[AppSeen], Value]) -> Family:
    return Family(name, kind, help_, lambda view: (Sample((app.name,), read(app)) for app in view.apps), ("app",))


def _planned(name: str, help_: str, read: Callable[[AppPlan], float | None]) -> Family:
    """Of the apps that are part of the running plan."""
    return _each(name, "gauge", help_, lambda app: None if app.planned is None else read(app.planned))


def _each_and(name: str, help_: str, label: str, read: Callable[[AppSeen], Mapping[str, float]]) -> Family:
    """Counters by a second label."""

    def samples(view: View) -> Iterator[Sample]:
        for app in view.apps:
            for key, value in read(app).items():
                yield Sample((app.name, key), value)

    return Family(name, "counter", help_, samples, ("app", label))


def _info(view: View) -> Iterator[Sample]:
    for app in view.apps:
        spec = app.live.spec
        yield Sample((app.name, spec.model, spec.late), 1.0)


def _refusals(app: AppSeen) -> Mapping[str, float]:
    refused = dict(app.live.meter.refused)
    return {code.value: refused.get(code, 0) for code in Code if code in ALWAYS_TOLD or code in refused}


def _exits(app: AppSeen) -> Mapping[str, float]:
    return {name: count for name, count in dict(app.live.meter.exits).items() if count}


def _joules(energy_mj: float | None) -> float | None:
    return None if energy_mj is None else energy_mj / 1e3


FAMILIES: Final = (
    Family(
        "schedulerd_app_info",
        "gauge",
        "1 for each app that is connected, with its model and what happens to its late requests.",
        _info,
        ("app", "model", "late"),
    ),
    _each(
        "schedulerd_app_requests_total",
        "counter",
        "Requests that were answered.",
        lambda app: app.live.meter.answered,
    ),
    _each(
        "schedulerd_app_misses_total",
        "counter",
        "Answers that took longer than the budget.",
        lambda app: app.live.meter.missed,
    ),
    _each_and(
        "schedulerd_app_refusals_total",
        "Requests that were refused, by the code that the client got (clients/PROTOCOL.md).",
        "code",
        _refusals,
    ),
    _each(
        "schedulerd_app_latency_seconds",
        "histogram",
        "From the arrival of a request to its answer being ready.",
        lambda app: app.live.meter.latencies_ms,
    ),
    _each(
        "schedulerd_app_run_seconds_total",
        "counter",
        "Time inside blocks and exits and in preparing frames; each frame of a batch counts all of it.",
        lambda app: app.live.meter.run_ms / 1e3,
    ),
    _each(
        "schedulerd_app_shared_blocks_total",
        "counter",
        "Blocks that did not have to run, as they had run on the same frame for another app.",
        lambda app: app.live.meter.shared_blocks,
    ),
    _each_and(
        "schedulerd_app_exits_total",
        "Answers by the exit at which the frame left, but for those that asked for given exits.",
        "exit",
        _exits,
    ),
    _each("schedulerd_app_swaps_total", "counter", "Changes of the route.", lambda app: app.swaps),
    _each("schedulerd_app_open_requests", "gauge", "Requests that wait or run.", lambda app: app.live.queued),
    _each(
        "schedulerd_app_budget_seconds",
        "gauge",
        "The latency budget.",
        lambda app: seconds(app.live.spec.budget_ms),
    ),
    _each(
        "schedulerd_app_rate_hertz",
        "gauge",
        "Frames a second that the app said it would send.",
        lambda app: app.live.spec.rate_hz,
    ),
    _each(
        "schedulerd_app_priority",
        "gauge",
        "1 to 10; the budgets of the lowest are given up first.",
        lambda app: app.live.spec.priority,
    ),
    _each(
        "schedulerd_app_accuracy_floor_ratio",
        "gauge",
        "The least accuracy that the app accepts.",
        lambda app: app.live.spec.accuracy_floor,
    ),
    _planned(
        "schedulerd_app_predicted_accuracy_ratio",
        "Accuracy that is predicted of the route.",
        lambda planned: planned.accuracy,
    ),
    _planned(
        "schedulerd_app_predicted_latency_p95_seconds",
        "95th percentile of the latency that is predicted of the route on the board as it is now.",
        lambda planned: seconds(planned.latency_p95_ms),
    ),
    _each(
        "schedulerd_app_measured_latency_p95_seconds",
        "gauge",
        "95th percentile of the latencies of the last 10 s; absent without requests.",
        lambda app: seconds(app.measured_p95_ms),
    ),
    _each(
        "schedulerd_app_measured_latency_p50_seconds",
        "gauge",
        "Median of the latencies of the last 10 s; absent without requests.",
        lambda app: seconds(app.measured_p50_ms),
    ),
    _planned(
        "schedulerd_app_predicted_excess_seconds",
        "By how much the predicted latency exceeds the budget; 0 while it is kept.",
        lambda planned: seconds(planned.miss_ms),
    ),
    _planned(
        "schedulerd_app_predicted_energy_joules",
        "Energy that a frame is predicted to take; absent where it could not be measured.",
        lambda planned: _joules(planned.energy_mj),
    ),
    _planned(
        "schedulerd_app_route_bytes",
        "Memory of the route; what it shares with those of other apps is counted in full.",
        lambda planned: planned.memory_bytes,
    ),
)
