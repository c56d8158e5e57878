"""The plan that would follow if budgets, memory, apps or the objective were others, beside the present best. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from schedulerd.optimizer.damping import gain_and_cost
from schedulerd.optimizer.explain import clauses, listed
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.nearest import nearest_budget_ms
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.optimizer.variations import with_budget
from schedulerd.optimizer.verdict import SAME
from schedulerd.optimizer.why import Compared, best_of, compared
from schedulerd.plan import Plan, difference, relief
from schedulerd.sizes import size_text

_LEAST_TOLD: Final = 1e-4
"""Of a gain, as a share: the last digit that is shown."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What would be decided on now, with and without an edit. Both decisions start from the same running routes."""

    edits: tuple[str, ...]
    """What was edited, in words."""
    before: Plan
    """The best plan under the problem as it is. Not what runs where `held_back` says so."""
    after: Plan
    """The best plan under the edited problem."""
    apps: tuple[Compared, ...]
    """Every app of either plan, those that run first."""
    held_back: str
    """In words: what a new decision would gain without any edit; empty where it would keep what runs."""
    sentences: tuple[str, ...]
    """What would change and what could not be kept, one clause each."""
    nearest_budgets_ms: Mapping[str, float | None]
    """For each app whose budget was edited, or that was added, and that would miss it: the least budget that would be
    met; None where none would."""


def edited(
    problem: Problem,
    budgets_ms: Mapping[str, float],
    memory_bytes: int | None,
    added: Sequence[AppOptions],
    objective: str | None,
) -> Problem:
    """`problem` with other budgets by app id, another memory limit, more apps, another objective; None leaves as is.

    Budgets may be of added apps too. Whether the values make sense is checked when the problem is solved.

    Raises:
        KeyError: a budget of an app that there is not; the message names those there are.
    """
    problem = replace(
        problem,
        apps=(*problem.apps, *added),
        limits=replace(
            problem.limits, memory_bytes=problem.limits.memory_bytes if memory_bytes is None else memory_bytes
        ),
        objective=problem.objective if objective is None else objective,
    )
    for app_id, budget_ms in budgets_ms.items():
        problem = with_budget(problem, app_id, budget_ms)
    return problem


def whatif(problem: Problem, edited: Problem, running_plan: Plan, solver: Solver) -> Comparison:
    """What would follow if `problem` were `edited`.

    Raises:
        BadProblem: the edited problem makes no sense.
        KeyError: the running plan has no route for an app of `problem`, or one that it does not offer.
    """
    running = predict(problem, {a.app_id: a.route for a in running_plan.apps}, running_plan.number)
    memo = Memo()
    before, after = _decided(problem, edited, running, solver, memo)
    missed = [app_id for app_id in _asked(problem, edited) if (app := after.app(app_id)) and app.miss_ms]
    nearest_ms = {app_id: nearest_budget_ms(edited, app_id, solver, memo) for app_id in missed}
    return Comparison(
        edits=tuple(_edits(problem, edited)),
        before=before,
        after=after,
        apps=compared(before, after),
        held_back=_held_back(problem, running, before),
        sentences=(*clauses(before, after), *_nearest(nearest_ms)),
        nearest_budgets_ms=nearest_ms,
    )


def _decided(problem: Problem, edited: Problem, running: Plan, solver: Solver, memo: Memo) -> tuple[Plan, Plan]:
    """The best plans without and with the edit.

    Each is proven to within a gap only, so each is tried under the other problem too: what one of them happened to
    find is no effect of the edit.
    """
    number = running.number + 1
    before = best_of(problem, solve(problem, solver, number, memo), running)
    after = best_of(edited, solve(edited, solver, number, memo), before)
    return best_of(problem, before, after), after


def _held_back(problem: Problem, running: Plan, best: Plan) -> str:
    changes = difference(running, best)
    if not changes:
        return ""
    moved = f"{listed([change.app_id for change in changes])} would run something else"
    if relief(running.broken, best.broken, SAME) > 0:
        return f"damping keeps the running plan, though a new decision would exceed limits by less: {moved}"
    gain, _ = gain_and_cost(problem, running, best)
    points = f"{100 * gain:.2f}" if gain >= _LEAST_TOLD else f"less than {100 * _LEAST_TOLD:g}"
    return (
        f"damping keeps the running plan, though a new decision would gain {points} points by {problem.objective}: "
        f"{moved}"
    )


def _budgets_ms(problem: Problem) -> dict[str, float]:
    return {a.app.app_id: a.app.budget_ms for a in problem.apps}


def _asked(problem: Problem, edited: Problem) -> list[str]:
    """The apps whose budget is new."""
    known_ms = _budgets_ms(problem)
    return [app_id for app_id, budget_ms in _budgets_ms(edited).items() if known_ms.get(app_id) != budget_ms]


def _edits(problem: Problem, edited: Problem) -> Iterator[str]:
    before_ms, after_ms = _budgets_ms(problem), _budgets_ms(edited)
    for app_id in _asked(problem, edited):
        if app_id in before_ms:
            yield f"budget of {app_id} {before_ms[app_id]:g} -> {after_ms[app_id]:g} ms"
        else:
            yield f"{app_id} joins with {after_ms[app_id]:g} ms"
    before_bytes, after_bytes = problem.limits.memory_bytes, edited.limits.memory_bytes
    if before_bytes != after_bytes:
        yield f"memory limit {size_text(before_bytes)} -> {size_text(after_bytes)}"
    if problem.objective != edited.objective:
        yield f"objective {problem.objective} -> {edited.objective}"


def _nearest(budgets_ms: Mapping[str, float | None]) -> Iterator[str]:
    for app_id, budget_ms in budgets_ms.items():
        if budget_ms is None:
            yield f"no budget of {app_id} would be met: the lanes are overloaded"
        else:
            yield f"the nearest budget of {app_id} that would be met is {budget_ms:g} ms"
