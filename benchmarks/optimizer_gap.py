"""How far a plan is from the best one: the plain formulation is asked whether anything better exists, and for a bound.

The order of limits is walked as the optimizer gives them up: what a plan exceeds has to be the least possible, limit by
limit, and then its accuracy is compared with the best of all plans that exceed no limit further.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.optimizer_program import COST_SCALE, PlainProgram, by_block, priced
from schedulerd.optimizer.problem import Problem
from schedulerd.plan import Plan

SAME: Final = 1e-5
"""Excesses closer than this share of a limit are equal, as they are to the optimizer."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What is known of a plan's distance from the optimum."""

    share: float | None
    """By how much the weighted accuracy could be better at most, as a share of what it is; None where that is not known
    because it is not even known whether a limit has to be exceeded so far."""
    exact: bool
    """Whether the optimum is known: then `share` is the distance from it, else from a bound."""
    worse_limits: tuple[str, ...] = ()
    """Limits that together are exceeded further than necessary."""
    excess: float = 0.0
    """By how much further at least, as a sum of shares of these limits."""
    claim_wrong: bool = False
    """Whether the plan itself says that it is nearer to the optimum than it is."""


def gap_of(problem: Problem, plan: Plan, time_limit_s: float) -> Gap:
    """The distance of `plan` from the optimum of `max-accuracy`, as far as it can be proven in time.

    Only for problems whose drops add up, without exit policies.
    """
    ends_s = time.monotonic() + time_limit_s
    program = PlainProgram(problem, by_block(problem), elastic=bool(plan.broken))
    if plan.broken:
        for limits in _tiers(problem):
            excess = sum(e.share for e in plan.broken if e.limit in limits)
            if excess > SAME:
                program.minimise_excess(limits)
                least = program.solve("highs", _left(ends_s))
                if least.value is not None and least.value < excess - SAME:
                    return Gap(None, False, limits, excess - least.value)
                if least.bound is None or least.bound < excess - SAME:
                    return Gap(None, False)
            program.hold_excess(limits, excess)
    program.minimise_cost()
    best = program.solve("highs", _left(ends_s))
    if best.bound is None or best.bound == math.inf:
        return Gap(None, False)  # said to be infeasible, which the plan itself contradicts
    weights = sum(app.app.priority for app in problem.apps)
    loss = plan_loss(problem, plan)
    bound = max(0.0, best.bound) / COST_SCALE
    share = max(0.0, (loss - bound) / (weights - loss))
    if best.outcome == "optimal":
        return Gap(share, True, claim_wrong=plan.gap is not None and plan.gap < share - SAME)
    # The plan's own bound has been checked wherever the optimum is known; on large problems it is the better one.
    return Gap(share if plan.gap is None else min(share, plan.gap), False)


def plan_loss(problem: Problem, plan: Plan) -> float:
    """Weighted accuracy that a plan gives up, by its own figures: those that `recheck` has found to be right."""
    planned = {a.app_id: a for a in plan.apps}
    return sum(priced(app, app.full_accuracy - planned[app.app.app_id].accuracy) for app in problem.apps)


def _tiers(problem: Problem) -> Iterator[tuple[str, ...]]:
    """Limits that are given up together, those that are given up last first."""
    yield ("memory",)
    yield ("utilisation",)
    for priority in sorted({app.app.priority for app in problem.apps}, reverse=True):
        yield tuple(f"budget:{app.app.app_id}" for app in problem.apps if app.app.priority == priority)


def _left(ends_s: float) -> float:
    """Seconds to go; never none at all, which solvers read as no limit."""
    return max(0.1, ends_s - time.monotonic())
