"""The daemon's state as plain maps, as they travel in answers and events (clients/PROTOCOL.md). Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockprofiles.compose import resident_bytes
from blockprofiles.contention import Slowdown
from blockprofiles.record import Row
from blockstore.block import ORIGINAL, Model, Variant
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.exit_rates import History, shares_of
from schedulerd.control.factors import promised
from schedulerd.control.learned_heat import Learned
from schedulerd.control.limits import LimitsNow
from schedulerd.control.pins import unmet
from schedulerd.control.plan_report import MEASURED_S, Decision, plan_map
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.switcher import Swaps
from schedulerd.control.tally import Totals
from schedulerd.errors import BadValue
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.buckets import Buckets
from schedulerd.serving.meter import percentile
from schedulerd.wire.messages import (
    Apps,
    ControlRequest,
    Models,
    ShowPlan,
    Status,
)


@dataclass(frozen=True, slots=True)
class Now:
    """Everything the control loop knows at one moment."""

    facts: Mapping[str, Any]
    """What never changes: version, pid, engine, lanes, threads_per_lane, lanes_reason, started_s."""
    plan: Plan
    decision: Decision
    snapshot: Snapshot
    limits: LimitsNow
    board: Slowdown
    """How it runs now against its profile."""
    resident_bytes: int
    live_bytes: int
    states: Mapping[str, int]
    """How many variants are in each state."""
    apps: Sequence[LiveApp]
    swaps: Mapping[str, int]
    """Route changes of each live app since it joined."""
    plan_swaps: Swaps
    """Plans that changed routes, with and without a load."""
    decisions_ms: Buckets
    """What deciding took, whether or not a plan was taken."""
    applied_ms: Buckets
    """What putting plans in place took."""
    totals: Totals
    """Of these apps and of all that have left."""
    dropped: Mapping[str, int]
    """What was refused or dropped at the sockets, before it was any app's request."""
    catalogue: Catalogue
    objective: str
    """What the next plan is to be best at."""
    exit_history: Mapping[str, History] = field(default_factory=dict)
    """Of each app whose model has exits."""
    learned: Learned = Learned()  # noqa: RUF009 - frozen, so sharing the default is safe
    """What throttles have taught."""
    drained: tuple[str, ...] = ()
    """Names that an operator holds, whether or not an app of that name is there."""
    drained_all: bool = False
    """Whoever registers is held too."""


def answer(request: ControlRequest, now: Now) -> dict[str, Any]:
    """The result map for one operator's request; `BadValue` for one that is not answered here."""
    if isinstance(request, Status):
        return status_map(now)
    if isinstance(request, Apps):
        return {"apps": [app_map(app, now) for app in now.apps]}
    if isinstance(request, ShowPlan):
        return plan_map(now.plan, now.decision, now.catalogue, now.apps, now.snapshot.at_s)
    if isinstance(request, Models):
        return {"models": [model_map(model, now.catalogue) for model in now.catalogue.models.values()]}
    raise BadValue(f"{type(request).__name__} is not for the control loop")


def status_map(now: Now) -> dict[str, Any]:
    """The answer to `status`."""
    snapshot = now.snapshot
    facts = {key: value for key, value in now.facts.items() if key != "started_s"}
    return {
        **facts,
        "uptime_s": snapshot.at_s - now.facts["started_s"],
        "ready": True,
        "plan": now.plan.number,
        "apps": len(now.apps),
        "drained": list(now.drained),
        "drained_all": now.drained_all,
        "requests": now.totals.requests,
        "misses": now.totals.misses,
        "refused": now.totals.refused,
        "swaps": now.totals.swaps,
        "warm_swaps": now.plan_swaps.warm,
        "cold_swaps": now.plan_swaps.cold,
        "resident_bytes": now.resident_bytes,
        "live_bytes": now.live_bytes,
        "memory_limit_bytes": now.limits.limits.memory_bytes,
        "memory_limit_reason": now.limits.reasons["memory"],
        "memory_confined": snapshot.memory_confined,
        "utilisation_limit": now.limits.limits.utilisation_cap,
        "utilisation_limit_reason": now.limits.reasons["utilisation"],
        "power_limit_w": now.limits.limits.power_cap_w,
        "power_limit_reason": now.limits.reasons["power"],
        **board_map(now),
        "rss_bytes": snapshot.memory_own_bytes,
        "slowdown": now.board.median,
        "slowdown_p95": promised(now.board.p95),
        "cpu_busy": snapshot.cpu_busy,
        "cpu_others": snapshot.cpu_others,
        "memory_available_bytes": snapshot.memory_available_bytes,
        "states": dict(now.states),
        "dropped": dict(now.dropped),
    }


def board_map(now: Now) -> dict[str, Any]:
    """What the board says of itself beside memory and processor, and what it taught; nil what cannot be read."""
    snapshot, learned = now.snapshot, now.learned
    throttle, pressure = snapshot.throttle, snapshot.pressure
    stalls = {} if pressure is None else {"cpu": pressure.cpu, "memory": pressure.memory, "io": pressure.io}
    return {
        "stalls": {name: stall.some for name, stall in stalls.items() if stall is not None} or None,
        "zones": None if snapshot.zones is None else {zone.name: zone.celsius for zone in snapshot.zones},
        "throttled": None if throttle is None else list(throttle.causes),
        "clock_share": None if throttle is None else throttle.clock_share,
        "learned_clock_share": learned.clock_share,
        "board_power_w": snapshot.power_w,
        "battery": None if snapshot.battery is None else snapshot.battery.charge,
        "discharging": None if snapshot.battery is None else snapshot.battery.discharging,
        "unread": {unread.source: unread.reason for unread in snapshot.unread},
    }


def app_map(app: LiveApp, now: Now) -> dict[str, Any]:
    """One app in the answer to `apps`: what it asked for, what is predicted, what was measured."""
    spec = app.spec
    planned = now.plan.app(spec.app_id)
    recent = app.meter.since(now.snapshot.at_s - MEASURED_S)
    latencies = [o.latency_ms for o in recent]
    return {
        "app": spec.app_id,
        "model": spec.model,
        "budget_ms": spec.budget_ms,
        "registered_budget_ms": app.wishes.budget_ms,
        "percentile": spec.percentile,
        "rate_hz": spec.rate_hz,
        "priority": spec.priority,
        "registered_priority": app.wishes.priority,
        "drained": app.drained,
        **pins_map(app, now.catalogue.models[spec.model], now.plan),
        "accuracy_floor": spec.accuracy_floor,
        "late": spec.late,
        "route": list(planned.route.variants) if planned else [],
        "accuracy": planned.accuracy if planned else None,
        "latency_ms": planned.latency_ms if planned else None,
        "latency_p95_ms": planned.latency_p95_ms if planned else None,
        "miss_ms": planned.miss_ms if planned else None,
        "measured_p50_ms": percentile(latencies, 0.5),
        "measured_p95_ms": percentile(latencies, 0.95),
        "requests": app.meter.answered,
        "misses": app.meter.missed,
        "refused": dict(app.meter.refused),
        "shared": app.meter.shared_blocks,
        "swaps": now.swaps.get(spec.app_id, 0),
        "policy": dict(planned.route.policy.steps) if planned else {},
        "exit_shares": planned.shares_by_exit() if planned else {},
        "exit_rates": shares_of(Counter(o.exit for o in recent if o.left != "asked")) or None,
        "exit_history": [b.as_map(now.snapshot.at_s) for b in now.exit_history.get(spec.app_id, History()).bins],
    }


def pins_map(app: LiveApp, model: Model, plan: Plan) -> dict[str, Any]:
    """What an operator holds of an app's route, and what of that does not run under `plan`, in sentences."""
    planned, held = plan.app(app.spec.app_id), app.spec.pins
    return {
        "pins": dict(held.variants),
        "pinned_exits": dict(held.exits) or None,
        "unmet_pins": unmet(held, model, planned.route if planned else None),
    }


def model_map(model: Model, catalogue: Catalogue) -> dict[str, Any]:
    """One model in the answer to `models`. `routes` is how many combinations of variants there are."""
    blocks = [catalogue.measured(block) for block in model.blocks]
    usable = all(blocks)
    return {
        "model": model.name,
        "accuracy": model.accuracy,
        "blocks": len(model.blocks),
        "variants": sum(len(b.variants) for b in model.blocks),
        "routes": math.prod(len(b.variants) for b in model.blocks),
        "full_p95_ms": sum(map(_original_p95_ms, blocks)) if usable else None,
        "lossless_p95_ms": sum(map(_lossless_p95_ms, blocks)) if usable else None,
        "fastest_p95_ms": sum(min(row.latency_p95_ms for _, row in block) for block in blocks) if usable else None,
        "least_memory_bytes": _least_memory_bytes(blocks, catalogue.heads(model).values()) if usable else None,
        "input": str(model.input),
        "output": str(model.output),
        "labels": list(model.labels),
        "exits": [e.name for e in model.exits],
        "policies": [
            {"name": o.policy.name, "exits": dict(o.policy.steps), "accuracy_drop": o.forecast.accuracy_drop}
            for o in model.policies
        ],
    }


def _lossless_p95_ms(variants: Sequence[tuple[Variant, Row]]) -> float:
    """The quickest of the variants that cost the least accuracy, mostly none."""
    least = min(variant.accuracy_drop for variant, _ in variants)
    return min(row.latency_p95_ms for variant, row in variants if variant.accuracy_drop == least)


def _original_p95_ms(variants: Sequence[tuple[Variant, Row]]) -> float:
    """The original, or the one that comes after it where it is unusable."""
    return next((row for variant, row in variants if variant.kind == ORIGINAL), variants[0][1]).latency_p95_ms


def _least_memory_bytes(blocks: Sequence[Sequence[tuple[Variant, Row]]], heads: Iterable[Row]) -> int:
    """Of the smallest variants and all heads, with the activations of one lane."""
    smallest = (min((row for _, row in block), key=lambda row: row.memory_bytes) for block in blocks)
    return resident_bytes([*smallest, *heads])
