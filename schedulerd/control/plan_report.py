"""A plan as a plain map (clients/PROTOCOL.md), with what was measured beside what it predicts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from blockstore.block import Model
from schedulerd.control.catalogue import Catalogue
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import Observation, percentile
from schedulerd.serving.route import LoadedRoute

MEASURED_S: Final = 10.0
"""Requests so old still count as measured."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why the running plan was made, what it did, how long looking and the switcher took, and when it was done."""

    cause: str
    sentence: str
    apply_ms: float
    at_s: float
    plan: Plan = EMPTY_PLAN
    """As it was predicted then, which is what `sentence` speaks of."""
    look_ms: float = 0.0
    """What it took to look at the board before."""


def plan_map(
    plan: Plan, decision: Decision, catalogue: Catalogue, apps: Sequence[LiveApp], now_s: float
) -> dict[str, Any]:
    """The answer to `plan`, and the body of a `plan` event.

    Args: plan: running; decision: that put it in place; catalogue: models and profile; apps: live; now_s.
    """
    live = {app.spec.app_id: app for app in apps}
    since_s = max(decision.at_s, now_s - MEASURED_S)
    return {
        "number": plan.number,
        "cause": decision.cause,
        "sentence": decision.sentence,
        "look_ms": decision.look_ms,
        "apply_ms": decision.apply_ms,
        "status": plan.status,
        "gap": plan.gap,
        "note": plan.note,
        "objective": plan.objective,
        "weighted_accuracy": plan.weighted_accuracy,
        "solve_ms": plan.solve_ms,
        "memory_bytes": plan.memory_bytes,
        "memory_limit_bytes": plan.memory_limit_bytes,
        "utilisation": plan.utilisation,
        "binding": list(plan.binding),
        "broken": [{"limit": e.limit, "share": e.share} for e in plan.broken],
        "apps": [_app_map(a, catalogue, live.get(a.app_id), since_s) for a in plan.apps],
    }


def _app_map(planned: AppPlan, catalogue: Catalogue, app: LiveApp | None, since_s: float) -> dict[str, Any]:
    route = app.route if app is not None and app.route is not None and app.route.route == planned.route else None
    seen: tuple[Observation, ...] = ()
    if app is not None and route is not None:
        seen = tuple(o for o in app.meter.since(since_s) if o.expected is route.expected)
    return {
        "app": planned.app_id,
        "route": list(planned.route.variants),
        "blocks": list(_blocks(planned, catalogue, route, seen, app.spec.prepare_ms if app is not None else 0.0)),
        "latency_ms": planned.latency_ms,
        "latency_p95_ms": planned.latency_p95_ms,
        "accuracy": planned.accuracy,
        "memory_bytes": planned.memory_bytes,
        "miss_ms": planned.miss_ms,
        "policy": dict(planned.route.policy.steps),
        "exit_shares": planned.shares_by_exit(),
        "expected_ms": planned.expected_ms,
        "energy_mj": planned.energy_mj,
        "pins": dict(app.spec.pins.variants) if app is not None else {},
        **_measured(seen),
    }


def _measured(seen: Sequence[Observation]) -> dict[str, float | None]:
    """Of each prediction, what was measured of the same thing; None of nothing."""
    ours = [o for o in seen if o.left != "asked"]
    return {
        "measured_p50_ms": percentile((o.run_ms for o in ours if o.left == "end"), 0.5),
        "measured_p95_ms": percentile((o.latency_ms for o in ours), 0.95),
        "measured_mean_ms": statistics.fmean(o.run_ms for o in ours) if ours else None,
    }


def _blocks(
    planned: AppPlan,
    catalogue: Catalogue,
    route: LoadedRoute | None,
    seen: Sequence[Observation],
    prepare_ms: float,
) -> Iterator[Mapping[str, Any]]:
    """What runs, in order: a block, or several that were merged into one session."""
    model, variants = catalogue.models[planned.route.model], planned.route.variants
    for number, (first, last) in enumerate(_spans(planned, route)):
        rows = [catalogue.table.row(digest) for digest in planned.route.digests[first : last + 1]]
        least_known = max(rows, key=lambda row: row.uncertainty)
        yield {
            "block": _names(model, first, last),
            "variant": "+".join(variants[first : last + 1]),
            # What precedes the first block is planned as part of it, and measured apart.
            "ms": sum(planned.block_ms[first : last + 1]) - (0.0 if first else prepare_ms),
            "measured_ms": percentile((o.blocks_ms[number] for o in seen if len(o.blocks_ms) > number), 0.5),
            "source": least_known.source,
            "uncertainty": least_known.uncertainty,
        }


def _spans(planned: AppPlan, route: LoadedRoute | None) -> list[tuple[int, int]]:
    """First and last block of everything that is run by itself."""
    if route is not None and route.expected:
        return [(b.first, b.last) for b in route.expected]
    return [(block, block) for block in range(len(planned.route.variants))]


def _names(model: Model, first: int, last: int) -> str:
    names = [model.blocks[first].name, model.blocks[last].name]
    return " to ".join(dict.fromkeys(names))
