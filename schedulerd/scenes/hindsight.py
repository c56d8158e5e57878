"""The best plans known afterwards: recorded decisions, made again at leisure and with nothing to be left behind. Pure.

The daemon decides beside a running plan, which it does not leave for a little; here every decision begins from nothing,
on what was known when the last one of its stretch of time was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.scenes.record import Best


class Decided(NamedTuple):
    """A problem, and when it was solved, in monotonic seconds."""

    at_s: float
    problem: Problem


def best_plans(decided: Iterable[Decided], marks: Sequence[float], solver: Solver) -> tuple[Best, ...]:
    """For each stretch between two marks the best plan for its last problem; none where no decision was made in it."""
    known = sorted(decided, key=lambda one: one.at_s)
    found = []
    for begin_s, end_s in pairwise(marks):
        last = next((one for one in reversed(known) if begin_s <= one.at_s < end_s), None)
        if last is not None and last.problem.apps:
            found.append(Best(begin_s, end_s, _accuracy(last.problem, solver)))
    return tuple(found)


def weighted(accuracies: Mapping[str, float], priorities: Mapping[str, int]) -> float:
    """Mean of the apps' accuracy, weighted by their priorities; 0 without apps."""
    total = sum(priorities[app] for app in accuracies)
    return sum(priorities[app] * value for app, value in accuracies.items()) / total if total else 0.0


def _accuracy(problem: Problem, solver: Solver) -> float:
    free = replace(
        problem,
        apps=tuple(replace(app, running=None) for app in problem.apps),
        resident=frozenset(),
        swap_cost=0.0,
    )
    plan = solve(free, solver, 0)
    priorities = {app.app.app_id: app.app.priority for app in problem.apps}
    return weighted({app.app_id: app.accuracy for app in plan.apps}, priorities)
