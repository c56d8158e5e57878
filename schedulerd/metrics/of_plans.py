"""What was decided: how often, how quickly and how well, and what became of it. And the sums over all apps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schedulerd.metrics.family import Family, Sample, by_label, one
from schedulerd.metrics.view import View
from schedulerd.wire.messages import Code


def _build(view: View) -> Iterator[Sample]:
    facts = view.now.facts
    yield Sample((str(facts["version"]), str(facts["engine"])), 1.0)


def _plan(view: View) -> Iterator[Sample]:
    yield Sample((view.now.plan.objective, view.now.plan.status), 1.0)


def _refused(view: View) -> dict[str, float]:
    return {code.value: view.refused[code] for code in Code if code in view.refused}


def _dropped(view: View) -> dict[str, float]:
    return dict(view.now.dropped)


def _swaps(view: View) -> dict[str, float]:
    swaps = view.now.plan_swaps
    return {"warm": swaps.warm, "cold": swaps.cold}


FAMILIES: Final = (
    Family("schedulerd_build_info", "gauge", "1, with what runs here.", _build, ("version", "engine")),
    one("schedulerd_lanes", "gauge", "Executor threads.", lambda view: int(view.now.facts["lanes"])),
    one("schedulerd_apps", "gauge", "Apps that are connected.", lambda view: len(view.apps)),
    one(
        "schedulerd_requests_total",
        "counter",
        "Requests that were answered, of all apps since the start.",
        lambda view: view.totals.requests,
    ),
    one(
        "schedulerd_misses_total",
        "counter",
        "Answers that took longer than the budget, of all apps since the start.",
        lambda view: view.totals.misses,
    ),
    one(
        "schedulerd_refusals_total",
        "counter",
        "Requests that were refused, of all apps since the start.",
        lambda view: view.totals.refused,
    ),
    by_label(
        "schedulerd_other_refusals_total",
        "counter",
        "Refusals to those who are no app, by code: of registrations, to strangers and to operators.",
        "code",
        _refused,
    ),
    by_label(
        "schedulerd_dropped_total",
        "counter",
        "What was dropped at the sockets: replies that nobody reads, connections above the limit, rings that cannot be "
        "mapped, packets that are none.",
        "kind",
        _dropped,
    ),
    one(
        "schedulerd_decision_seconds",
        "histogram",
        "Time that a decision took, whether or not its plan was put in place.",
        lambda view: view.now.decisions_ms,
    ),
    one(
        "schedulerd_apply_seconds",
        "histogram",
        "Time from a decision to its plan being in place, loading included.",
        lambda view: view.now.applied_ms,
    ),
    by_label(
        "schedulerd_swaps_total",
        "counter",
        "Plans that changed the route of an app: `cold` where something had to be loaded, else `warm`.",
        "kind",
        _swaps,
    ),
    one(
        "schedulerd_plan_number",
        "gauge",
        "Number of the running plan; 0 before the first.",
        lambda view: view.now.plan.number,
    ),
    Family(
        "schedulerd_plan_info",
        "gauge",
        "1, with what the running plan is best at and how sure that is (clients/PROTOCOL.md, `plan`).",
        _plan,
        ("objective", "status"),
    ),
    one(
        "schedulerd_plan_gap_ratio",
        "gauge",
        "By how much a plan could be better at most; absent where nothing is proven.",
        lambda view: view.now.plan.gap,
    ),
    one(
        "schedulerd_plan_accuracy_ratio",
        "gauge",
        "Predicted accuracies as shares of the models' full ones, weighted by priority; absent without apps.",
        lambda view: view.now.plan.weighted_accuracy if view.now.plan.apps else None,
    ),
    one(
        "schedulerd_plan_utilisation_ratio",
        "gauge",
        "Share of the lanes' time that the plan is predicted to use.",
        lambda view: view.now.plan.utilisation,
    ),
    one(
        "schedulerd_plan_bytes",
        "gauge",
        "Memory that the routes of the plan take together.",
        lambda view: view.now.plan.memory_bytes,
    ),
    one(
        "schedulerd_plan_exceeded_limits",
        "gauge",
        "Limits and budgets that the plan cannot keep, as no choice of routes keeps them all.",
        lambda view: len(view.now.plan.broken),
    ),
)
