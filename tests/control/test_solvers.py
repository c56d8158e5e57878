"""Both solvers read PuLP's statuses right, print nothing, and do not raise."""

from __future__ import annotations

import random

import pulp
import pytest

from schedulerd.control.solvers import Cbc, Highs, Solver, make_solver
from schedulerd.errors import ConfigError

SOLVERS: list[Solver] = [Highs(10.0), Cbc(10.0)]


def knapsack(items: int = 12, rows: int = 4, seed: int = 1) -> pulp.LpProblem:
    """Take the most valuable items, minimised as a loss, under several weights."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    program = pulp.LpProblem("knapsack", pulp.LpMinimize)
    takes = [program.add_variable(f"take_{i}", 0, 1, pulp.LpInteger) for i in range(items)]
    for row in range(rows):
        weight = pulp.LpAffineExpression([(t, float(rng.randint(10, 99))) for t in takes])
        program.addConstraint(pulp.LpConstraint(weight, pulp.LpConstraintLE, f"weight:{row}", 25.0 * items))
    program.setObjective(pulp.LpAffineExpression([(t, -float(rng.randint(10, 99))) for t in takes]))
    return program


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
def test_an_optimum_comes_with_its_bound(solver: Solver, capfd: pytest.CaptureFixture[str]) -> None:
    program = knapsack()
    answer = solver.run(program, 10.0, feasible=False)
    assert answer.outcome == "optimal"
    assert answer.bound == pytest.approx(pulp.value(program.objective))
    assert answer.seconds > 0
    assert capfd.readouterr() == ("", "")


def test_the_program_that_highs_gets_in_arrays_is_the_one_that_pulp_built() -> None:
    """Free, fixed and integer variables, rows of all three senses, and a row without terms; CBC reads PuLP's file."""
    values = []
    for solver in SOLVERS:
        program = pulp.LpProblem("mixed", pulp.LpMinimize)
        free = program.add_variable("free")
        whole = program.add_variable("whole", -3, 8, pulp.LpInteger)
        fixed = program.add_variable("fixed", 2, 2)
        program.setObjective(2 * free + 3 * whole + fixed + 5)
        program.addConstraint(free + 2 * whole >= 3.5, "at_least")
        program.addConstraint(free - fixed <= 4, "at_most")
        program.addConstraint(free - 3 * whole == 1, "exactly")
        program.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(), pulp.LpConstraintLE, "empty", 1.0))
        assert solver.run(program, 10.0, feasible=True).outcome == "optimal"
        values.append((free.varValue, whole.varValue, fixed.varValue))
    assert values[0] == pytest.approx(values[1]) == (4.0, 1.0, 2.0)


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
@pytest.mark.parametrize("feasible", [False, True])
def test_infeasible_is_an_answer(solver: Solver, feasible: bool) -> None:
    program = knapsack()
    takes = program.variables()
    program.addConstraint(takes[0] + takes[1] >= 3, "impossible")
    assert solver.run(program, 10.0, feasible=feasible).outcome == "infeasible"


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
def test_no_time_is_never_called_optimal(solver: Solver) -> None:
    """Both write "Optimal" over what they had when the time was up; a program this size takes minutes."""
    answer = solver.run(knapsack(items=200, rows=25), 0.3, feasible=False)
    assert answer.outcome in ("time_limit", "failed")
    assert answer.outcome == "time_limit" or answer.reason


def test_highs_proves_a_bound_of_its_incumbent() -> None:
    program = knapsack(items=200, rows=25)
    answer = Highs(10.0).run(program, 0.5, feasible=False)
    assert answer.outcome == "time_limit"
    assert answer.bound is not None
    assert answer.bound <= pulp.value(program.objective)


def test_solvers_are_named_in_the_configuration() -> None:
    assert isinstance(make_solver("highs", 0.5), Highs)
    assert make_solver("cbc", 0.25).time_limit_s == 0.25
    with pytest.raises(ConfigError, match="'glpk'; it is one of cbc, highs"):
        make_solver("glpk", 0.5)
