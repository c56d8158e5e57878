"""Boards too large to try everything: plans hold, are proven near the best, and come out the same again."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.optimizer_instances import instance, overloaded, with_budget
from schedulerd.optimizer.memo import Memo
from schedulerd.optimizer.recheck import violations
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Highs
from schedulerd.plan import Plan

HIGHS = Highs(10.0)
SHAPES = ((4, 8, 8), (10, 8, 10))
"""Apps, blocks and variants."""
NEAR = 0.01
"""The gap with which a plan is taken to be good enough."""


@cache
def planned(seed: int, shape: tuple[int, int, int]) -> Plan:
    return solve(instance(seed, *shape), HIGHS, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_plan_holds_and_is_proven_to_be_near_the_best(seed: int, shape: tuple[int, int, int]) -> None:
    plan = planned(seed, shape)
    assert violations(instance(seed, *shape), plan) == ()
    assert plan.status in ("optimal", "bounded")
    assert plan.gap is not None
    assert plan.gap <= NEAR
    assert plan.broken == (), "some choice of routes keeps every limit"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_second_run_gives_the_same_plan(seed: int, shape: tuple[int, int, int]) -> None:
    assert solve(instance(seed, *shape), HIGHS, 1) == planned(seed, shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_an_overloaded_board_has_a_plan_that_owns_up_to_what_it_breaks(seed: int, shape: tuple[int, int, int]) -> None:
    problem = overloaded(instance(seed, *shape))
    plan = solve(problem, HIGHS, 1)
    assert violations(problem, plan) == ()
    assert [e.rank for e in plan.broken] == sorted(e.rank for e in plan.broken)
    assert solve(problem, HIGHS, 1) == plan


def test_some_overloaded_board_cannot_keep_its_limits() -> None:
    """Else the test before says nothing."""
    problems = [overloaded(instance(seed, *SHAPES[0])) for seed in range(3)]
    assert any(solve(problem, HIGHS, 1).broken for problem in problems)


def test_a_changed_budget_is_decided_again_as_well_with_what_is_known() -> None:
    problem, memo = instance(1, 10, 8, 10), Memo()
    solve(problem, HIGHS, 1, memo)
    for position in range(3):
        problem = with_budget(problem, position, 0.8)
        plan = solve(problem, HIGHS, 2, memo)
        fresh = solve(problem, HIGHS, 2)
        assert violations(problem, plan) == ()
        assert [e.limit for e in plan.broken] == [e.limit for e in fresh.broken]
        assert plan.weighted_accuracy == pytest.approx(fresh.weighted_accuracy, rel=2 * NEAR)
