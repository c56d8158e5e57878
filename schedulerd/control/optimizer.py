"""The decision: the best routes for all apps under the limits of the moment. Pure but for the solver it is given.

Limits are hard where all of them can be kept. Where not, they are given up in order: first budgets, those of the
lowest priority before others, then the cap on utilisation, then memory; accuracy floors stand. Every rank is exceeded
as little as the ranks before it allow, and accuracy is looked at last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pulp

from schedulerd.control.choice import Choice, choose, most_accurate
from schedulerd.control.greedy import greedy
from schedulerd.control.predict import plan_of
from schedulerd.control.problem import Problem
from schedulerd.control.program import LOSS_SCALE, Program
from schedulerd.control.recheck import violations
from schedulerd.control.reduce import Kept, undominated
from schedulerd.control.solvers import Answer, Solver
from schedulerd.control.validate import check
from schedulerd.plan import Plan, relief

SAME = 1e-5
"""Excesses closer than this share of a limit are equal: the rounding of several stages."""


@dataclass(frozen=True, slots=True)
class Found:
    """A choice with where it came from; fields as in `Plan`."""

    choice: Choice
    status: str = "optimal"
    gap: float | None = 0.0
    note: str = ""


def solve(problem: Problem, solver: Solver, number: int) -> Plan:
    """The best plan, or the best that was found in time; its status says which.

    Never "infeasible": a plan that cannot keep a limit says so in `broken`, and in `miss_ms` of the app it is about.

    Args:
        problem: what to decide.
        solver: who solves the integer program. It is not asked where the most accurate routes fit anyway.
        number: the plan's number.

    Raises:
        BadProblem: a cost that is no cost, a block without variants.
    """
    check(problem)
    ideal = most_accurate(problem)
    found = Found(ideal) if not ideal.broken() else _checked(_search(problem, solver))
    plan = plan_of(found.choice, number)
    return replace(plan, status=found.status, gap=found.gap, note=found.note)


def _search(problem: Problem, solver: Solver) -> Found:
    """With hard limits; with soft ones where the solver proves that they cannot all be kept."""
    kept = undominated(problem)
    program = Program(problem, kept, elastic=False)
    program.minimise_loss()
    answer = _ask(solver, program, solver.time_limit_s)
    if answer.outcome == "infeasible":
        return _search_softened(problem, kept, solver, solver.time_limit_s - answer.seconds)
    if answer.outcome == "failed":
        return Found(greedy(problem), "greedy", None, answer.reason)
    choice = choose(problem, program.picks())
    if broken := choice.broken():
        limits = ", ".join(e.limit for e in broken)
        return Found(greedy(problem), "greedy", None, f"the solver's choice breaks {limits}")
    found = Found(choice, answer.outcome, _gap(program, choice, answer))
    return found if answer.outcome == "optimal" else _better(found, greedy(problem))


def _search_softened(problem: Problem, kept: Kept, solver: Solver, left_s: float) -> Found:
    """Rank by rank: exceed it as little as possible, hold it there, go on to the next.

    A choice at hand that keeps a rank's limits proves that they can be kept, so that no solver need be asked.
    """
    program = Program(problem, kept, elastic=True)
    fallback = greedy(problem)
    found = Found(fallback, "greedy", None)
    proven = True
    for rank in (*sorted(program.slacks), None):
        if rank is None:
            program.minimise_loss()
        elif all(e.rank != rank for e in found.choice.broken()):
            program.forbid_excess(rank)
            continue
        else:
            program.minimise_excess(rank)
        answer = _ask(solver, program, left_s)
        left_s -= answer.seconds
        if answer.outcome not in ("optimal", "time_limit"):
            return _better(replace(found, note=answer.reason or "the solver contradicts itself"), fallback)
        proven = proven and answer.outcome == "optimal"
        found = Found(choose(problem, program.picks()), "time_limit", None)
        if rank is not None:
            program.hold_excess(rank)
    if proven:
        found = replace(found, status="optimal", gap=_gap(program, found.choice, answer))
    return _better(found, fallback)


def _ask(solver: Solver, program: Program, time_limit_s: float) -> Answer:
    """The solver's answer; what it raises, and having no time left, is a failure like any other."""
    if time_limit_s <= 0:
        return Answer("failed", reason="no time left")
    try:
        return solver.run(program.lp, time_limit_s)
    except Exception as error:  # a solver is a plug-in: no fault of one may stop the control loop
        return Answer("failed", reason=f"{type(error).__name__}: {error}")


def _gap(program: Program, choice: Choice, answer: Answer) -> float | None:
    """By how much the weighted accuracy could be better at most, as a share of what it is."""
    if answer.bound is None:
        return None
    lost = (float(pulp.value(program.lp.objective)) - answer.bound) / LOSS_SCALE
    reached = sum(a.app.priority for a in choice.problem.apps) - choice.loss
    return max(0.0, lost / reached) if reached > 0 else None


def _better(found: Found, fallback: Choice) -> Found:
    """What the solver found, unless the greedy choice exceeds its limits less, or is as good as a mere incumbent."""
    gained = relief(found.choice.broken(), fallback.broken(), SAME)
    unproven = found.status != "optimal"
    if gained > 0 or (gained == 0 and unproven and fallback.loss < found.choice.loss):
        return Found(fallback, "greedy", None, found.note or "the solver's choice is worse")
    return found


def _checked(found: Found) -> Found:
    """What was found, if it holds when worked out again; the greedy choice where it does not."""
    wrong = violations(found.choice.problem, plan_of(found.choice))
    if not wrong or found.status == "greedy":
        return found
    return Found(greedy(found.choice.problem), "greedy", None, "; ".join(wrong))
