"""The solver that ends what nobody waits for any more."""

from __future__ import annotations

import pulp
import pytest

from schedulerd.control.allowance import Abandoned, Allowance
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Answer, make_solver
from tests.optimizer.problems import random_problem


class CountingSolver:
    """Counts what it is asked."""

    time_limit_s = 1.5

    def __init__(self) -> None:
        self.runs = 0

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        self.runs += 1
        return Answer("optimal")


def test_it_is_the_solver_while_somebody_waits() -> None:
    solver = CountingSolver()
    allowance = Allowance(solver, lambda: False)
    assert allowance.time_limit_s == 1.5
    assert allowance.run(pulp.LpProblem(), 1.0, feasible=True).outcome == "optimal"
    assert solver.runs == 1


def test_nothing_is_solved_when_nobody_waits() -> None:
    solver = CountingSolver()
    with pytest.raises(Abandoned):
        Allowance(solver, lambda: True).run(pulp.LpProblem(), 1.0, feasible=True)
    assert solver.runs == 0


def test_a_decision_ends_instead_of_going_on_without_a_solver() -> None:
    """Whatever else a solver raises is taken for a plan without it."""
    with pytest.raises(Abandoned):
        solve(random_problem(1), Allowance(make_solver("highs", 5.0), lambda: True), 1)
