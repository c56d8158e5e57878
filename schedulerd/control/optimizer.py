"""The decision: the best routes for all apps under the limits of the moment. Pure but for the solver it is given.

Limits are hard where all of them can be kept. Where not, they are given up in order: first budgets, those of the
lowest priority before others, then the cap on utilisation, then memory; accuracy floors stand. Every rank is exceeded
as little as the ranks before it allow, and accuracy is looked at last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pulp

from schedulerd.control.bounds import fastest, least_excesses
from schedulerd.control.choice import Choice, choose, excess_of, most_accurate
from schedulerd.control.cost import TOLERANCE
from schedulerd.control.greedy import greedy, taken_back
from schedulerd.control.predict import plan_of
from schedulerd.control.problem import Problem
from schedulerd.control.program import LOSS_SCALE, Program
from schedulerd.control.recheck import violations
from schedulerd.control.reduce import Kept, undominated
from schedulerd.control.solvers import Answer, Solver
from schedulerd.control.validate import check
from schedulerd.plan import Plan, relief

FEASIBLE = ("optimal", "time_limit")
"""Outcomes that come with a solution."""
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
    if not ideal.broken():
        return plan_of(ideal, number)
    return _checked(_search(problem, solver), number)


def _search(problem: Problem, solver: Solver) -> Found:
    """With hard limits; with soft ones where they cannot all be kept."""
    kept = undominated(problem)
    if least_excesses(problem):
        return _search_softened(problem, kept, solver, solver.time_limit_s)
    program = Program(problem, kept, elastic=False)
    program.minimise_loss()
    answer = _ask(solver, program, solver.time_limit_s, feasible=False)
    left_s = solver.time_limit_s - answer.seconds
    if answer.outcome == "infeasible" and not greedy(problem).broken():
        answer = _ask(solver, program, left_s, feasible=True)
    if answer.outcome == "infeasible":
        return _search_softened(problem, kept, solver, left_s)
    if answer.outcome == "failed":
        return Found(greedy(problem), "greedy", None, answer.reason)
    choice = choose(problem, *program.solution())
    if broken := choice.broken():
        limits = ", ".join(e.limit for e in broken)
        return Found(greedy(problem), "greedy", None, f"the solver's choice breaks {limits}")
    found = Found(choice, answer.outcome, _gap(program, choice, answer))
    return found if answer.outcome == "optimal" else _better(found, greedy(problem))


def _search_softened(problem: Problem, kept: Kept, solver: Solver, time_limit_s: float) -> Found:
    """With soft limits, rank by rank, starting from what is known without a solver."""
    known, other = greedy(problem), fastest(problem)
    fallback = other if _lighter(other, known) else known
    found = _Stages(problem, kept, solver, time_limit_s, fallback).run()
    if found.status == "time_limit":
        # Stages that look at excess alone leave accuracy lying about.
        found = replace(found, choice=taken_back(found.choice, kept))
    return _better(found, fallback)


class _Stages:
    """Each rank is exceeded as little as the ranks before it allow and held there; the loss comes last."""

    def __init__(self, problem: Problem, kept: Kept, solver: Solver, time_limit_s: float, known: Choice) -> None:
        self._problem = problem
        self._solver = solver
        self._left_s = time_limit_s
        self._program = Program(problem, kept, elastic=True)
        self._found = Found(known, "greedy", None)
        self._proven = True

    def run(self) -> Found:
        """The best choice, or the best until the solver gave up."""
        program, least = self._program, least_excesses(self._problem)
        held: list[int] = []
        for rank in sorted(program.slacks):
            held.append(rank)
            # A choice that exceeds a rank no further than anything could is that rank's optimum without a solver. On a
            # board that is overloaded the fastest routes answer most ranks at once.
            if excess_of(self._found.choice, rank) > least.get(rank, 0.0) + TOLERANCE:
                program.minimise_excess(rank)
                if self._improve().outcome not in FEASIBLE:
                    return self._found
            program.hold_excess(held, self._found.choice)
        program.minimise_loss()
        answer = self._improve()
        if answer.outcome in FEASIBLE and self._proven:
            gap = _gap(program, self._found.choice, answer)
            return replace(self._found, status="optimal", gap=gap)
        return self._found

    def _improve(self) -> Answer:
        """Ask for the present objective; take what comes, or note why nothing does."""
        answer = _ask(self._solver, self._program, self._left_s, feasible=True)
        self._left_s -= answer.seconds
        if answer.outcome in FEASIBLE:
            self._proven = self._proven and answer.outcome == "optimal"
            self._found = Found(choose(self._problem, *self._program.solution()), "time_limit", None)
        else:
            self._found = replace(self._found, note=answer.reason or "the solver contradicts itself")
        return answer


def _ask(solver: Solver, program: Program, time_limit_s: float, *, feasible: bool) -> Answer:
    """The solver's answer; what it raises, and having no time left, is a failure like any other."""
    if time_limit_s <= 0:
        return Answer("failed", reason="no time left")
    try:
        return solver.run(program.lp, time_limit_s, feasible=feasible)
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
    """What the solver found, unless the fallback exceeds its limits less, or is better than a mere incumbent."""
    gained = relief(found.choice.broken(), fallback.broken(), SAME)
    if gained > 0 or (found.status != "optimal" and _lighter(fallback, found.choice)):
        return Found(fallback, "greedy", None, found.note or "the solver's choice is worse")
    return found


def _lighter(one: Choice, other: Choice) -> bool:
    """Whether `one` exceeds its limits less than `other`, or as much at a smaller loss."""
    gained = relief(other.broken(), one.broken(), SAME)
    return gained > 0 or (gained == 0 and one.loss < other.loss)


def _checked(found: Found, number: int) -> Plan:
    """The plan of what was found, if it holds when worked out again; the greedy plan where it does not."""
    plan = replace(plan_of(found.choice, number), status=found.status, gap=found.gap, note=found.note)
    if found.status == "greedy" or not (wrong := violations(found.choice.problem, plan)):
        return plan
    return replace(plan_of(greedy(found.choice.problem), number), status="greedy", gap=None, note="; ".join(wrong))
