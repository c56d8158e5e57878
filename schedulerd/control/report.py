"""The daemon's state as plain maps, as they travel in answers and events (clients/PROTOCOL.md). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockstore.block import Model
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.problem import Limits
from schedulerd.control.snapshot import Snapshot
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import percentile

MEASURED_S = 10.0
"""Window of the measured percentiles in an app's report."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why the running plan was made, what it did, and how long the switcher took."""

    cause: str
    sentence: str
    apply_ms: float


def status_map(
    facts: Mapping[str, Any],
    plan: Plan,
    snapshot: Snapshot,
    apps: Sequence[LiveApp],
    *,
    swaps: int,
    resident_bytes: int,
    limits: Limits,
    slowdown: float,
    states: Mapping[str, int],
) -> dict[str, Any]:
    """The answer to `status`."""
    return {
        **facts,
        "uptime_s": snapshot.at_s - facts["started_s"],
        "ready": True,
        "plan": plan.number,
        "apps": len(apps),
        "requests": sum(a.meter.answered for a in apps),
        "misses": sum(a.meter.missed for a in apps),
        "refused": sum(sum(a.meter.refused.values()) for a in apps),
        "swaps": swaps,
        "resident_bytes": resident_bytes,
        "memory_limit_bytes": limits.memory_bytes,
        "rss_bytes": snapshot.memory_own_bytes,
        "slowdown": slowdown,
        "cpu_busy": snapshot.cpu_busy,
        "cpu_others": snapshot.cpu_others,
        "memory_available_bytes": snapshot.memory_available_bytes,
        "states": dict(states),
    }


def app_map(app: LiveApp, plan: Plan, swaps: Mapping[str, int], now_s: float) -> dict[str, Any]:
    """One app in the answer to `apps`: what it asked for, what is predicted, what was measured."""
    spec = app.spec
    planned = plan.app(spec.app_id)
    latencies = [o.latency_ms for o in app.meter.since(now_s - MEASURED_S)]
    return {
        "app": spec.app_id,
        "model": spec.model,
        "budget_ms": spec.budget_ms,
        "rate_hz": spec.rate_hz,
        "priority": spec.priority,
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
        "swaps": swaps.get(spec.app_id, 0),
    }


def plan_map(plan: Plan, decision: Decision, models: Mapping[str, Model]) -> dict[str, Any]:
    """The answer to `plan`, and the body of a `plan` event."""
    return {
        "number": plan.number,
        "cause": decision.cause,
        "sentence": decision.sentence,
        "apply_ms": decision.apply_ms,
        "status": plan.status,
        "gap": plan.gap,
        "solve_ms": plan.solve_ms,
        "memory_bytes": plan.memory_bytes,
        "memory_limit_bytes": plan.memory_limit_bytes,
        "utilisation": plan.utilisation,
        "binding": list(plan.binding),
        "apps": [
            {
                "app": a.app_id,
                "route": list(a.route.variants),
                "blocks": [
                    {"block": block.name, "variant": variant, "ms": ms}
                    for block, variant, ms in zip(
                        models[a.route.model].blocks, a.route.variants, a.block_ms, strict=True
                    )
                ],
                "latency_ms": a.latency_ms,
                "latency_p95_ms": a.latency_p95_ms,
                "accuracy": a.accuracy,
                "memory_bytes": a.memory_bytes,
                "miss_ms": a.miss_ms,
            }
            for a in plan.apps
        ],
    }


def model_map(model: Model, catalogue: Catalogue) -> dict[str, Any]:
    """One model in the answer to `models`. `routes` is how many combinations of variants there are."""
    rows = [
        [catalogue.table.row(a.digest) for v in block.variants if (a := v.artifact(catalogue.engine)) is not None]
        for block in model.blocks
    ]
    return {
        "model": model.name,
        "accuracy": model.accuracy,
        "blocks": len(model.blocks),
        "variants": sum(len(b.variants) for b in model.blocks),
        "routes": math.prod(len(b.variants) for b in model.blocks),
        "full_p95_ms": sum(block[0].latency_p95_ms for block in rows),
        "fastest_p95_ms": sum(min(row.latency_p95_ms for row in block) for block in rows),
        "input": str(model.input),
        "output": str(model.output),
        "labels": list(model.labels),
    }
