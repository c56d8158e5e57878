"""The answers to `why` and `whatif` as plain maps (clients/PROTOCOL.md). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schedulerd.control.plan_report import Decision
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.whatif import Comparison
from schedulerd.optimizer.why import Better, Compared, Further, Relaxed, RunnerUp, Why
from schedulerd.plan import App, AppPlan, Excess, Plan, Route


def why_map(found: Why, app: App, plan: Plan, decision: Decision, now_s: float) -> dict[str, Any]:
    """The answer to `why`.

    Args: found: the reasons; app: as it is now; plan: running; decision: that put it in place; now_s.
    """
    return {
        "app": app.app_id,
        "model": app.model,
        "plan": plan.number,
        "objective": plan.objective,
        "cause": decision.cause,
        "since_s": now_s - decision.at_s,
        "percentile": app.percentile,
        **_planned(found.planned, app.budget_ms),
        "relaxed": [_relaxed(one) for one in found.relaxed],
        "better": _better(found.better) if found.better else None,
        "runner_up": _runner_up(found.runner_up) if found.runner_up else None,
        "nearest_budget_ms": found.nearest_budget_ms,
        "unused_gain": found.unused_gain,
    }


def _planned(planned: AppPlan, budget_ms: float) -> dict[str, Any]:
    return {
        **_route(planned.route),
        "exit_shares": planned.shares_by_exit(),
        "budget_ms": budget_ms,
        "latency_p95_ms": planned.latency_p95_ms,
        "miss_ms": planned.miss_ms,
        "accuracy": planned.accuracy,
    }


def _route(route: Route) -> dict[str, Any]:
    return {"route": list(route.variants), "policy": dict(route.policy.steps)}


def _relaxed(one: Relaxed) -> dict[str, Any]:
    return {
        "limit": one.limit,
        "before": one.before,
        "after": one.after,
        "gain": one.gain,
        "relief_ms": one.relief_ms,
        "weighted_gain": one.weighted_gain,
    }


def _better(better: Better) -> dict[str, Any]:
    return {
        **_route(better.route),
        "accuracy": better.accuracy,
        "gain": better.gain,
        "latency_p95_ms": better.latency_p95_ms,
        "miss_ms": better.miss_ms,
        "forbidden_by": _further(better.forbidden_by),
        "weighted_gain": better.weighted_gain,
        "broken": _excesses(better.broken),
        "cost": [_cost(one) for one in better.cost],
    }


def _cost(one: Compared) -> dict[str, Any]:
    """What another app gives, or gets."""
    return {
        "app": one.app_id,
        "gain": one.gain,
        "relief_ms": one.relief_ms,
        "accuracy": one.after.accuracy if one.after else None,
        "miss_ms": one.after.miss_ms if one.after else None,
    }


def _runner_up(runner_up: RunnerUp) -> dict[str, Any]:
    return {
        **_route(runner_up.route),
        "accuracy": runner_up.accuracy,
        "latency_p95_ms": runner_up.latency_p95_ms,
        "miss_ms": runner_up.miss_ms,
        "weighted_accuracy": runner_up.weighted_accuracy,
        "weighted_gain": runner_up.weighted_gain,
        "forbidden_by": _further(runner_up.forbidden_by),
        "broken": _excesses(runner_up.broken),
    }


def _excesses(broken: Sequence[Excess]) -> list[dict[str, Any]]:
    return [{"limit": excess.limit, "share": excess.share} for excess in broken]


def _further(exceeded: Sequence[Further]) -> list[dict[str, Any]]:
    return [{"limit": one.limit, "share": one.share, "added": one.added} for one in exceeded]


def whatif_map(comparison: Comparison, problem: Problem, imagined: Problem) -> dict[str, Any]:
    """The answer to `whatif`: the plan of `problem` beside that of the one that is `imagined`."""
    before_ms = {a.app.app_id: a.app.budget_ms for a in problem.apps}
    after_ms = {a.app.app_id: a.app.budget_ms for a in imagined.apps}
    return {
        "edits": list(comparison.edits),
        "sentences": list(comparison.sentences),
        "held_back": comparison.held_back or None,
        "before": _totals(comparison.before, problem),
        "after": _totals(comparison.after, imagined),
        "apps": [
            {
                "app": one.app_id,
                "before": _planned(one.before, before_ms[one.app_id]) if one.before else None,
                "after": _planned(one.after, after_ms[one.app_id]) if one.after else None,
            }
            for one in comparison.apps
        ],
        "nearest_budgets_ms": dict(comparison.nearest_budgets_ms),
    }


def _totals(plan: Plan, problem: Problem) -> dict[str, Any]:
    """Of all apps of one plan."""
    return {
        "objective": problem.objective,
        "weighted_accuracy": plan.weighted_accuracy,
        "memory_bytes": plan.memory_bytes,
        "memory_limit_bytes": plan.memory_limit_bytes,
        "utilisation": plan.utilisation,
        "binding": list(plan.binding),
        "broken": _excesses(plan.broken),
        "status": plan.status,
        "gap": plan.gap,
    }
