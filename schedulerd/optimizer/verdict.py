"""Which of two plans for one problem is better: by what they exceed, then by the problem's objective. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from schedulerd.optimizer.choice import Choice
from schedulerd.optimizer.cost import weight_of
from schedulerd.optimizer.predict import choice_of, plan_of
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.worth import is_fair, worths
from schedulerd.plan import Plan, difference, relief

SAME = 1e-5
"""Relative difference, of an excess or an objective, that is the rounding of several stages of solving."""

Verdict = Literal["same", "equal", "better", "worse", "faulty"]
"""Of a plan beside an earlier one: the same routes; others that are as good; better or worse ones; what may not run."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A plan under a problem, with what is wrong with it."""

    plan: Plan
    """Predicted anew, where its routes can run under the problem; how it was found is left as it was told."""
    values: tuple[float, ...] | None
    """`objective_values`, the first before the second; None for routes that cannot run."""
    faults: tuple[str, ...]
    """`recheck.violations`."""


def judged(problem: Problem, plan: Plan, faults: tuple[str, ...]) -> Judged:
    """What `plan` is worth under `problem`, which may have another objective than the one that it was made for."""
    try:
        choice = choice_of(problem, {a.app_id: a.route for a in plan.apps})
    except (KeyError, ValueError):  # what the problem does not offer; fewer blobs than variants
        return Judged(plan, None, faults)
    anew = plan_of(choice, plan.number)
    as_told = replace(anew, status=plan.status, gap=plan.gap, solve_ms=plan.solve_ms, note=plan.note)
    return Judged(as_told, objective_values(choice), faults)


def objective_values(choice: Choice) -> tuple[float, ...]:
    """What the problem's objective makes small: the largest loss where that comes first, then the sum of worths."""
    problem, costs = choice.problem, choice.costs
    worth = sum(worth.of_cost(cost) for worth, cost in zip(worths(problem), costs, strict=True))
    if not is_fair(problem):
        return (worth,)
    losses = (weight_of(a) / a.app.priority * c.accuracy_drop for a, c in zip(problem.apps, costs, strict=True))
    return max(losses, default=0.0), worth


def verdict(before: Judged, after: Judged) -> Verdict:
    """How `after` compares; both are of one problem."""
    if after.faults or after.values is None:
        return "faulty"
    if before.values is None:
        return "better"
    if not difference(before.plan, after.plan):
        return "same"
    gained = relief(before.plan.broken, after.plan.broken, SAME) or _gained(before.values, after.values)
    return "better" if gained > 0 else "worse" if gained < 0 else "equal"


def _gained(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """By how much the first value that differs has become smaller."""
    for old, new in zip(before, after, strict=True):
        if abs(old - new) > SAME * max(1.0, abs(old)):
            return old - new
    return 0.0
